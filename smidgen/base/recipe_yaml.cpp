// The resolved recipe as a file that a person reads and smidgen reads back.
#include <algorithm>
#include <array>

#include "smidgen/base/field.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/str.h"

namespace smidgen {
namespace {

// Words that some YAML reader takes for something else than text.
constexpr std::array<std::string_view, 9> kTraps = {"null", "true", "false", "yes", "no",
                                                    "on",   "off",  "y",     "n"};

std::string text_of(const std::string& text) {
  std::string small = text;
  std::transform(small.begin(), small.end(), small.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool trap = std::find(kTraps.begin(), kTraps.end(), small) != kTraps.end();
  const bool plain =
      !text.empty() && (std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/') &&
      text.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.+-") == text.npos;
  if (plain && !trap) return text;
  // A JSON string is a YAML double-quoted scalar. ASCII only: YAML forbids some control characters
  // outright.
  return Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::string scalar_of(const Json& value, const std::string& type) {
  if (value.is_string()) return text_of(value);
  if (type == "size" && value.is_number_integer()) return to_string(Size{value.get<int64_t>()});
  std::string text = value.dump();
  // YAML 1.1 readers take 1e-05 for text and 1.0e-05 for a number.
  const size_t e = value.is_number_float() ? text.find('e') : text.npos;
  if (e != text.npos && text.find('.') == text.npos) text.insert(e, ".0");
  return text;
}

std::string value_of(const Json& value, const Json& node) {
  const std::string item = node.value("items", "string");
  if (value.is_array()) {
    std::vector<std::string> parts;
    for (const Json& part : value) parts.push_back(scalar_of(part, item));
    return str("[", join(parts), "]");
  }
  if (value.is_object()) {
    std::vector<std::string> parts;
    for (const auto& [key, part] : value.items()) {
      parts.push_back(str(text_of(key), ": ", scalar_of(part, item)));
    }
    return str("{", join(parts), "}");
  }
  return scalar_of(value, node["type"]);
}

class Printer {
 public:
  explicit Printer(const Resolved& resolved) : resolved_(resolved) {}

  void fields(const Json& nodes, const Json& values, const std::string& prefix, int depth,
              const Json& registries) {
    for (const Json& node : nodes) {
      const std::string name = node["name"];
      const std::string path = prefix.empty() ? name : str(prefix, ".", name);
      if (node.contains("flag_only")) continue;
      const Json& value = values.at(name);
      if (node["type"] == "group") {
        if (node["fields"].empty()) continue;
        line(depth, name + ":", "");
        fields(node["fields"], value, path, depth + 1, registries);
      } else if (node["type"] == "oneof" && !value.is_null()) {
        line(depth, name + ":", "");
        line(depth + 1, str("name: ", text_of(value["name"])), path);
        const Json& entry =
            registries.at(node["registry"].get<std::string>()).at(value["name"].get<std::string>());
        if (entry.contains("fields")) fields(entry["fields"], value, path, depth + 1, registries);
      } else if (!(node.contains("required") && value.is_null())) {
        line(depth, str(name, ": ", value_of(value, node)), path);
      }
    }
  }

  std::string take() { return std::move(text_); }

 private:
  void line(int depth, const std::string& content, const std::string& path) {
    std::string row = std::string(static_cast<size_t>(depth) * 2, ' ') + content;
    if (!path.empty()) {
      row.resize(std::max<size_t>(row.size(), 40), ' ');
      row += "  # " + resolved_.origin(path).text();
    }
    text_ += row + "\n";
  }

  const Resolved& resolved_;
  std::string text_;
};

}  // namespace

std::string to_yaml(const Json& document, const Resolved& resolved) {
  const Json registries = document.value("registries", Json::object());
  Printer printer(resolved);
  printer.fields(document["verbs"][resolved.verb]["fields"], resolved.values, "", 0, registries);
  printer.fields(common_fields(), resolved.common, "", 0, registries);
  return str("# smidgen ", resolved.verb, ", as resolved. After each value: who set it.\n",
             printer.take());
}

}  // namespace smidgen
