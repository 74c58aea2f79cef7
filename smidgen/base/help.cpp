#include "smidgen/base/help.h"

#include <algorithm>
#include <sstream>

#include "smidgen/base/field.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/str.h"

namespace smidgen {
namespace {

constexpr size_t kIndent = 30;

std::string upper(std::string text) {
  for (char& c : text)
    c = static_cast<char>(c == '_' ? '-' : std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string placeholder(const Json& node) {
  const std::string type = node["type"];
  if (type == "bool") return "";
  if (type == "choice" && node.contains("choices")) {
    const auto words = node["choices"].get<std::vector<std::string>>();
    if (const std::string all = join(words, "|"); all.size() <= 22) return all;
    return "WORD";
  }
  if (type == "choice" || type == "oneof") return upper(node.value("registry", "word"));
  if (type == "list") return node.value("items", "") == "int" ? "N,N,..." : "A,B,...";
  if (type == "map") return "PATTERN=N,...";
  if (type == "int" || type == "float") return "N";
  if (type == "string") return "TEXT";
  return upper(type);
}

std::string plain_number(const Json& value) {
  const double number = value.get<double>();
  if (number == static_cast<double>(static_cast<int64_t>(number)) && std::abs(number) < 1e15) {
    return str(static_cast<int64_t>(number));
  }
  return value.dump();
}

std::string default_text(const Json& node) {
  const auto found = node.find("default");
  if (found == node.end()) return "";
  const Json& value = *found;
  if (value.is_null() || value == "" || value == false || (value.is_structured() && value.empty()))
    return "";
  if (node["type"] == "size") return to_string(Size{value.get<int64_t>()});
  if (node["type"] == "oneof" && value.is_object()) return value.value("name", "");
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return plain_number(value);
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const Json& item : value)
      parts.push_back(item.is_string() ? item.get<std::string>() : item.dump());
    return join(parts, ",");
  }
  return value.dump();
}

std::string description(const Json& node, const Json& registries) {
  std::string text = node.value("help", "");
  std::vector<std::string> facts;
  if (node.contains("required")) facts.push_back("required");
  if (const std::string value = default_text(node); !value.empty())
    facts.push_back("default " + value);
  if (node.contains("unit")) facts.push_back("in " + node["unit"].get<std::string>());
  if (node.contains("min") && node.contains("max")) {
    facts.push_back(str(plain_number(node["min"]), " to ", plain_number(node["max"])));
  } else if (node.contains("min")) {
    facts.push_back("at least " + plain_number(node["min"]));
  } else if (node.contains("max")) {
    facts.push_back("at most " + plain_number(node["max"]));
  }
  if (node["type"] == "choice" && placeholder(node) == "WORD") {
    facts.push_back("one of " + join(node["choices"].get<std::vector<std::string>>()));
  }
  if (node.contains("registry")) {
    const auto registry = registries.find(node["registry"].get<std::string>());
    std::vector<std::string> names;
    if (registry != registries.end()) {
      for (const auto& [name, entry] : registry->items()) names.push_back(name);
    }
    if (!names.empty()) facts.push_back("one of " + join(names, ", ", 12));
  }
  if (facts.empty()) return text;
  return str(text, text.empty() ? "(" : " (", join(facts), ")");
}

class Page {
 public:
  explicit Page(const HelpStyle& style) : style_(style) {}

  void heading(const std::string& text) {
    out_ << '\n'
         << (style_.colour ? "\033[1m" : "") << text << (style_.colour ? "\033[0m" : "") << '\n';
  }
  void line(const std::string& text) { out_ << text << '\n'; }
  // A left part of its own and words that wrap beside it.
  void row(const std::string& left, const std::string& text, size_t indent = kIndent) {
    out_ << "  " << (style_.colour ? "\033[36m" : "") << left << (style_.colour ? "\033[0m" : "");
    size_t column = left.size() + 2;
    const size_t width = std::max<size_t>(static_cast<size_t>(style_.width), indent + 30);
    if (column + 2 > indent && !text.empty()) {
      out_ << '\n';
      column = 0;
    }
    std::istringstream words(text);
    std::string word;
    bool first = true;
    while (words >> word) {
      if (!first && column + 1 + word.size() > width) {
        out_ << '\n';
        column = 0;
        first = true;
      }
      if (first) {
        out_ << std::string(indent - std::min(indent, column), ' ');
        column = indent;
      } else {
        out_ << ' ';
        ++column;
      }
      out_ << word;
      column += word.size();
      first = false;
    }
    out_ << '\n';
  }
  std::string take() { return out_.str(); }

 private:
  const HelpStyle& style_;
  std::ostringstream out_;
};

void option(Page& page, const Json& node, const Json& registries) {
  const std::string place = placeholder(node);
  page.row(str("--", kebab(node["name"].get<std::string>()), place.empty() ? "" : " ", place),
           description(node, registries));
}

const Json* field_of(const Json& fields, const std::string& name) {
  for (const Json& node : fields) {
    if (node["name"] == name) return &node;
  }
  return nullptr;
}

void options(Page& page, const Json& fields, const std::string& prefix,
             const std::vector<std::string>& positional, const Json& registries,
             const std::map<std::string, std::string>& chosen) {
  for (const Json& node : fields) {
    const std::string name = node["name"];
    const bool bare = std::find(positional.begin(), positional.end(), name) != positional.end();
    if (node["type"] != "group" && !bare) option(page, node, registries);
  }
  for (const Json& node : fields) {
    const std::string name = node["name"];
    const std::string path = prefix.empty() ? name : str(prefix, ".", name);
    if (node["type"] == "group") {
      page.heading(node.value("help", upper(name).substr(0, 1) + name.substr(1)) + " (" + path +
                   ")");
      options(page, node["fields"], path, {}, registries, chosen);
    }
    if (node["type"] != "oneof") continue;
    const auto entry = chosen.find(path);
    if (entry == chosen.end()) continue;
    const Json& item = registries.at(node["registry"].get<std::string>()).at(entry->second);
    if (!item.contains("fields") || item["fields"].empty()) continue;
    page.heading(str("Options of --", kebab(name), " ", entry->second));
    options(page, item["fields"], path, {}, registries, chosen);
  }
}

}  // namespace

std::string overview_text(const Json& document, const HelpStyle& style) {
  Page page(style);
  page.line("usage: smidgen <verb> [recipe.yaml] [--flag value] [key.path=value]");
  page.heading("Verbs");
  for (const auto& [verb, entry] : document["verbs"].items()) {
    page.row(verb, entry.value("summary", ""), 14);
  }
  page.line("");
  page.line("smidgen help VERB, or smidgen VERB --help, shows a verb's options.");
  return page.take();
}

std::string help_text(const Json& document, const std::string& verb,
                      const std::map<std::string, std::string>& chosen, const HelpStyle& style) {
  (void)leaves(document, verb);  // an unknown verb is refused with the nearest name
  const Json& entry = document["verbs"][verb];
  const Json registries = document.value("registries", Json::object());
  const Json fields = entry.value("fields", Json::array());
  const std::vector<std::string> positional = positional_fields(entry);
  Page page(style);
  std::string usage = "usage: smidgen " + verb;
  for (const std::string& name : positional) {
    const Json& node = *field_of(fields, name);
    const std::string word = upper(name) + (node["type"] == "list" ? "..." : "");
    usage += node.contains("required") ? " " + word : str(" [", word, "]");
  }
  if (positional.empty() && !fields.empty()) usage += " [recipe.yaml]";
  page.line(usage + (fields.size() > positional.size() ? " [options] [key.path=value]" : ""));
  if (entry.contains("summary")) page.line("\n" + entry["summary"].get<std::string>());
  if (!positional.empty()) page.heading(positional.size() == 1 ? "Argument" : "Arguments");
  for (const std::string& name : positional)
    page.row(upper(name), description(*field_of(fields, name), registries));
  if (fields.size() > positional.size()) {
    page.heading("Options");
    options(page, fields, "", positional, registries, chosen);
  }
  page.heading("Everywhere");
  for (const Json& node : common_fields()) option(page, node, registries);
  page.row("--help", "This page; with a choice such as --method NAME, that choice's options too");
  if (entry.contains("examples") && !entry["examples"].empty()) {
    page.heading("Examples");
    for (const Json& example : entry["examples"]) {
      const bool pair = example.is_array() && example.size() == 2;
      if (pair) page.line("  # " + example[1].get<std::string>());
      page.line("  " + (pair ? example[0] : example).get<std::string>());
    }
  }
  return page.take();
}

}  // namespace smidgen
