// From a file to settings that this build has, and the recipe that they make.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "smidgen/base/error.h"
#include "smidgen/base/recipe.h"
#include "smidgen/io/importers/registry.h"

namespace smidgen {
namespace {

// Where tune is not known, because the core was not built.
const std::vector<std::pair<std::string, std::string>> kLoraFields = {
    {"r", "rank"},
    {"lora_alpha", "alpha"},
    {"target_modules", "target"},
    {"exclude_modules", "exclude"},
    {"use_rslora", "rslora"}};

std::string ours_of_peft(const std::vector<Leaf>& known, const std::string& method,
                         const std::string& key) {
  for (const Leaf& leaf : known) {
    if (leaf.oneof == "method" && leaf.entry == method && leaf.node->value("peft", "") == key)
      return leaf.path;
  }
  for (const auto& [theirs, ours] : kLoraFields) {
    if (known.empty() && theirs == key) return "method." + ours;
  }
  return "";
}

bool plain(const std::string& text) {
  if (text.empty() || text[0] == '-' || (text[0] >= '0' && text[0] <= '9') || text[0] == '.')
    return text.size() > 1 && (text[0] == '.' || text[0] == '-') && text[1] == '/';
  const bool simple = text.find_first_not_of(
                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "0123456789_-./") == std::string::npos;
  for (const char* word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}) {
    if (text == word) return false;
  }
  return simple;
}

std::string spelled(const Json& value) {
  if (value.is_string() && plain(value.get<std::string>())) return value.get<std::string>();
  if (value.is_array()) {
    std::string out;
    for (const Json& item : value) out += (out.empty() ? "" : ", ") + spelled(item);
    return "[" + out + "]";
  }
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  // Without a point "2e-05" is text to a YAML 1.1 reader.
  const size_t exponent = text.find('e');
  if (value.is_number_float() && exponent != std::string::npos &&
      text.find('.') == std::string::npos)
    text.insert(exponent, ".0");
  return text;
}

// A comment must not end early.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 32; }, ' ');
  return text;
}

std::string line(const ImportSetting& setting, const std::string& indent) {
  const size_t dot = setting.path.rfind('.');
  const std::string leaf = dot == std::string::npos ? setting.path : setting.path.substr(dot + 1);
  std::string out = str(indent, leaf, ": ", spelled(setting.value), "  # ", setting.from);
  if (setting.standard) out += " (what a missing key means there)";
  if (!setting.words.empty()) out += ": " + setting.words;
  return one_line(out) + "\n";
}

}  // namespace

const Registry<Importer>& importers() {
  static const Registry<Importer> registry = [] {
    Registry<Importer> made("importer");
    register_all(made);
    return made;
  }();
  return registry;
}

void fit_to_build(Imported& imported, const Json& document) {
  const Json verbs = document.value("verbs", Json::object());
  std::vector<Leaf> known;
  if (verbs.contains("tune") && !verbs["tune"].value("fields", Json::array()).empty())
    known = leaves(document, "tune");
  std::map<std::string, std::string> chosen = {{"method", "lora"}};
  for (const ImportSetting& setting : imported.settings) {
    if (setting.path.ends_with(".name"))
      chosen[setting.path.substr(0, setting.path.size() - 5)] = setting.value.get<std::string>();
  }
  const auto has = [&](const std::string& path) {
    const bool names = path.ends_with(".name");
    const std::string wanted = names ? path.substr(0, path.size() - 5) : path;
    return known.empty() || std::any_of(known.begin(), known.end(), [&](const Leaf& leaf) {
             return leaf.path == wanted && (leaf.oneof.empty() || leaf.entry == chosen[leaf.oneof]);
           });
  };
  std::vector<ImportSetting> kept;
  for (ImportSetting& setting : imported.settings) {
    std::string path = setting.path;
    if (path.starts_with("peft:")) path = ours_of_peft(known, chosen["method"], path.substr(5));
    if (!path.empty() && has(path)) {
      for (ImportRemark& remark : imported.remarks) {
        if (remark.key == setting.from && remark.words.starts_with(setting.path + ":"))
          remark.words = path + remark.words.substr(setting.path.size());
      }
      setting.path = path;
      kept.push_back(std::move(setting));
      continue;
    }
    const std::string words =
        str("tune of this build has no field for it; the value was ", spelled(setting.value));
    bool told = false;
    for (ImportRemark& remark : imported.remarks) {
      if (remark.key != setting.from || !remark.words.starts_with(setting.path + ":")) continue;
      remark.fate = Fate::lost;
      remark.words = words;
      told = true;
    }
    if (!told && !setting.standard)
      imported.remarks.push_back({Fate::lost, setting.from, 0, words});
  }
  imported.settings = std::move(kept);
}

std::string recipe_text(const Imported& imported) {
  std::string out = one_line(str("# A recipe of ", imported.tool, ", ", imported.file,
                                 ", as smidgen tune takes it.")) +
                    "\n";
  std::set<std::string> written;  // groups
  for (const ImportSetting& setting : imported.settings) {
    const size_t dot = setting.path.find('.');
    if (dot == std::string::npos) {
      out += line(setting, "");
      continue;
    }
    const std::string group = setting.path.substr(0, dot);
    if (!written.insert(group).second) continue;
    out += group + ":\n";
    for (const ImportSetting& inner : imported.settings) {
      if (inner.path.starts_with(group + ".")) out += line(inner, "  ");
    }
  }
  for (const Fate fate : {Fate::lost, Fate::unknown}) {
    bool first = true;
    for (const ImportRemark& remark : imported.remarks) {
      if (remark.fate != fate) continue;
      if (std::exchange(first, false))
        out += fate == Fate::lost ? "\n# Not supported:\n" : "\n# Not known to the importer:\n";
      out += one_line(str("#   ", remark.key, ": ", remark.words)) + "\n";
    }
  }
  return out;
}

Imported import_recipe(const std::string& file, const std::string& from, const Json& document) {
  const YamlNode root = read_yaml(file);
  if (root.kind != YamlNode::Kind::map)
    throw Error(ErrorKind::format, "a recipe is a map of keys to values", file);
  Imported out;
  out.file = file;
  Draft draft(root, out);
  out.tool = from;
  if (from.empty()) {
    std::vector<std::string> fitting;
    for (const auto& [name, importer] : importers().entries()) {
      if (importer->recognises(draft.theirs())) fitting.push_back(name);
    }
    if (fitting.size() != 1)
      throw Error(ErrorKind::unsupported,
                  fitting.empty()
                      ? "no importer recognises this recipe"
                      : str("more than one importer takes this for its own: ", join(fitting)),
                  file, str("name the tool: --from ", join(importers().names(), " | ")));
    out.tool = fitting[0];
  }
  const Importer& importer = importers().find(out.tool);
  draft.apply(importer.rules());
  importer.finish(draft);
  fit_to_build(out, document);
  std::stable_sort(out.remarks.begin(), out.remarks.end(), [](const auto& a, const auto& b) {
    return (a.line ? a.line : INT32_MAX) < (b.line ? b.line : INT32_MAX);
  });
  return out;
}

}  // namespace smidgen
