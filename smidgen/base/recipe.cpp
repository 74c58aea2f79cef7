#include "smidgen/base/recipe.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "smidgen/base/command_words.h"
#include "smidgen/base/error.h"
#include "smidgen/base/known_keys.h"
#include "smidgen/base/schema.h"
#include "smidgen/base/yaml.h"

extern char** environ;

namespace smidgen {

std::string Origin::text() const {
  switch (kind) {
    case Kind::standard:
      return "default";
    case Kind::recipe:
      return place;
    case Kind::environment:
      return "environment " + place;
    case Kind::flag:
      return (place.starts_with("--") ? "flag " : "argument ") + place;
  }
  return "";
}

Origin Resolved::origin(const std::string& path) const {
  const auto found = origins.find(path);
  return found == origins.end() ? Origin{} : found->second;
}

std::string Resolved::where(const std::string& path) const {
  return origin(path).text();
}

std::vector<std::string> positional_fields(const Json& verb) {
  std::istringstream words(verb.value("positional", ""));
  std::vector<std::string> names;
  for (std::string name; words >> name;) names.push_back(name);
  return names;
}

bool wants_help(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word == "--") return false;
    if (word == "--help" || word == "-h") return true;
  }
  return false;
}

namespace {

struct Setting {
  Json value;
  Origin origin;
};

class Resolver {
 public:
  Resolver(const Json& document, const Call& call)
      : document_(document), call_(call), leaves_(leaves(document, call.verb)) {
    verb_ = &document_["verbs"][call.verb];
    registries_ = document_.contains("registries") ? &document_["registries"] : nullptr;
    positional_ = positional_fields(*verb_);
    words_ = command_words(call, leaves_, positional_);
  }

  void choose() {
    for (const Leaf& leaf : leaves_) {
      if ((*leaf.node)["type"] != "oneof") continue;
      Json value = leaf.node->contains("default") ? leaf.node->at("default") : Json(nullptr);
      Origin origin;
      if (const YamlNode* node = in_recipe(leaf.path)) {
        value = oneof_value(*node, leaf);
        origin = {Origin::Kind::recipe, node->place(recipe_file_)};
      }
      if (const auto text = from_environment(leaf)) {
        value = parse_text(*leaf.node, *text, leaf.path, "environment " + leaf.env);
        origin = {Origin::Kind::environment, leaf.env};
      }
      for (const CommandWord& word : words_) {
        if (!names_leaf(word, leaf) && word.key != leaf.path + ".name") continue;
        origin = {Origin::Kind::flag, word.key};
        value = parse_text(*leaf.node, word.needed_value(), leaf.path, origin.text());
      }
      if (value.is_null() && origin.kind == Origin::Kind::recipe) {
        // Refuses null where something must be chosen.
        check_value(*leaf.node, value, leaf.path, origin.text(), registries_);
      }
      if (value.is_null()) continue;  // build() reports it where something must be chosen
      const Json word = value.is_object() ? value.value("name", Json()) : value;
      if (!word.is_string()) {
        throw Error(ErrorKind::usage, str("[", leaf.path, "] needs a name"), origin.text(),
                    str("known: ", join(entry_names(leaf))));
      }
      const std::string name = word.get<std::string>();
      check_name(leaf, name, origin);
      chosen_[leaf.path] = name;
    }
  }

  const std::map<std::string, std::string>& chosen() const { return chosen_; }

  void load_recipe() {
    for (const CommandWord& word : words_) {
      if (word.key == "--recipe") recipe_file_ = word.needed_value();
      if (!word.key.empty() || !positional_.empty()) continue;
      if (!recipe_file_.empty()) {
        throw Error(ErrorKind::usage, str("'", word.value, "' is one recipe too many"), "",
                    str("the recipe is already ", recipe_file_));
      }
      if (!verb_->contains("fields") || (*verb_)["fields"].empty()) {
        throw Error(ErrorKind::usage, str(call_.verb, " takes no argument '", word.value, "'"));
      }
      recipe_file_ = word.value;
    }
    if (recipe_file_.empty() && call_.recipe_text.empty()) return;
    if (recipe_file_.empty()) {
      recipe_file_ = "the recipe";
      recipe_ = parse_yaml(call_.recipe_text, recipe_file_);
    } else {
      recipe_ = read_yaml(recipe_file_);
    }
    if (recipe_.kind == YamlNode::Kind::null) recipe_.kind = YamlNode::Kind::map;
    if (recipe_.kind != YamlNode::Kind::map) {
      throw Error(ErrorKind::format, "a recipe is a map of key: value",
                  recipe_.place(recipe_file_));
    }
  }

  Resolved resolve() {
    load_recipe();
    choose();
    take_recipe(recipe_, "", (*verb_)["fields"], true);
    take_environment();
    take_words();
    result_.verb = call_.verb;
    result_.recipe = recipe_file_;
    result_.values = build(verb_->contains("fields") ? (*verb_)["fields"] : Json::array(), "");
    result_.common = build(common_fields(), "");
    for (const auto& [path, setting] : settings_) result_.origins[path] = setting.origin;
    return std::move(result_);
  }

 private:
  KnownKeys known() const { return {call_.verb, leaves_, chosen_}; }
  bool names_leaf(const CommandWord& word, const Leaf& leaf) const {
    return word.flag ? word.key == leaf.flag : word.key == leaf.path;
  }

  std::optional<std::string> from_environment(const Leaf& leaf) const {
    if (leaf.env.empty()) return std::nullopt;
    if (call_.environment) return call_.environment(leaf.env);
    const char* text = std::getenv(leaf.env.c_str());
    return text && *text ? std::optional<std::string>(text) : std::nullopt;
  }

  const YamlNode* in_recipe(const std::string& path) const {
    const YamlNode* node = &recipe_;
    for (size_t from = 0; from <= path.size();) {
      const size_t dot = std::min(path.find('.', from), path.size());
      const std::string part = path.substr(from, dot - from);
      const YamlNode* next = nullptr;
      for (const auto& [key, value] : node->entries) {
        if (key.text == part) next = &value;
      }
      if (!next) return nullptr;
      node = next;
      from = dot + 1;
    }
    return node;
  }

  // The name that a recipe gives for a oneof: `method: lora` or `method: {name: lora, ...}`.
  Json oneof_value(const YamlNode& node, const Leaf& leaf) const {
    if (node.kind == YamlNode::Kind::null) return nullptr;
    if (node.kind == YamlNode::Kind::scalar) {
      return node.plain ? parse_text(*leaf.node, node.text, leaf.path, node.place(recipe_file_))
                        : Json(node.text);
    }
    for (const auto& [key, value] : node.entries) {
      if (key.text == "name" && value.kind == YamlNode::Kind::scalar) return value.text;
    }
    throw Error(ErrorKind::usage, str("[", leaf.path, "] needs a name"), node.place(recipe_file_),
                str("write {name: ..., ...}; known: ", join(entry_names(leaf))));
  }

  std::vector<std::string> entry_names(const Leaf& leaf) const {
    std::vector<std::string> names;
    if (!registries_) return names;
    const auto registry = registries_->find((*leaf.node)["registry"].get<std::string>());
    if (registry == registries_->end()) return names;
    for (const auto& [name, entry] : registry->items()) names.push_back(name);
    return names;
  }

  void check_name(const Leaf& leaf, const std::string& name, const Origin& origin) const {
    check_value({{"type", "choice"}, {"choices", entry_names(leaf)}}, name, leaf.path,
                origin.text());
  }

  const Json& entry_fields(const Leaf& leaf) const {
    static const Json none = Json::array();
    const Json& entry =
        registries_->at((*leaf.node)["registry"].get<std::string>()).at(chosen_.at(leaf.path));
    return entry.contains("fields") ? entry["fields"] : none;
  }

  // One recipe value as JSON. The field's type decides what a plain scalar means.
  Json scalar(const YamlNode& node, const Json& field, const std::string& path) const {
    const std::string where = node.place(recipe_file_);
    if (node.kind == YamlNode::Kind::null) return nullptr;
    if (node.kind != YamlNode::Kind::scalar) return to_json(node);  // refused by check_value
    const std::string& type = field["type"].get_ref<const std::string&>();
    const bool collection = type == "list" || type == "map" || type == "targets" || type == "oneof";
    if (!node.plain || collection) return node.text;
    return parse_text(field, node.text, path, where);
  }
  Json from_yaml(const YamlNode& node, const Json& field, const std::string& path) const {
    const std::string& type = field["type"].get_ref<const std::string&>();
    const Json item = {{"type", field.value("items", "string")}};
    if (type == "list" && node.kind == YamlNode::Kind::scalar) {
      return Json::array({scalar(node, item, path)});
    }
    if ((type == "list" || type == "targets") && node.kind == YamlNode::Kind::list) {
      Json list = Json::array();
      for (const YamlNode& entry : node.items) list.push_back(scalar(entry, item, path));
      return list;
    }
    if (type == "map" && node.kind == YamlNode::Kind::map) {
      Json map = Json::object();
      for (const auto& [key, value] : node.entries) {
        map[key.text] = scalar(value, item, str(path, ".", key.text));
      }
      return map;
    }
    return scalar(node, field, path);
  }

  void take_recipe(const YamlNode& map, const std::string& prefix, const Json& fields, bool top) {
    for (const auto& [key, value] : map.entries) {
      const std::string path = prefix.empty() ? key.text : str(prefix, ".", key.text);
      const Json* node = find_node(fields, key.text);
      if (!node && top) node = find_node(common_fields(), key.text);
      if (!node) known().refuse_key(path, key.place(recipe_file_));
      if (node->contains("flag_only")) {
        throw Error(ErrorKind::usage, str("[", path, "] is a flag, not a key of a recipe"),
                    key.place(recipe_file_), str("use --", kebab(key.text)));
      }
      if ((*node)["type"] == "group") {
        if (value.kind != YamlNode::Kind::map) {
          throw Error(ErrorKind::usage, str("[", path, "] must be a map of key: value"),
                      value.place(recipe_file_));
        }
        take_recipe(value, path, (*node)["fields"], false);
        continue;
      }
      const Origin origin{Origin::Kind::recipe, value.place(recipe_file_)};
      if ((*node)["type"] == "oneof") {
        take_oneof(value, path, *node, origin);
      } else {
        settings_[path] = {
            check_value(*node, from_yaml(value, *node, path), path, origin.text(), registries_),
            origin};
      }
    }
  }

  void take_oneof(const YamlNode& value, const std::string& path, const Json& node,
                  const Origin& origin) {
    const Leaf leaf{path, "", "", &node, "", ""};
    const Json name = oneof_value(value, leaf);
    const auto now = chosen_.find(path);
    if (name.is_null() || now == chosen_.end()) return;
    settings_[path] = {name, origin};
    std::vector<std::string> own;
    YamlNode rest = value;
    std::erase_if(rest.entries, [](const auto& entry) { return entry.first.text == "name"; });
    if (name != now->second) {
      for (const auto& entry : rest.entries) own.push_back(entry.first.text);
      result_.notes.push_back(str(path, " is ", now->second, " now, so the recipe's ",
                                  name.get<std::string>(), " is not used",
                                  own.empty() ? "" : ", nor its " + join(own)));
      return;
    }
    take_recipe(rest, path, entry_fields(leaf), false);
  }

  static const Json* find_node(const Json& fields, const std::string& name) {
    for (const Json& node : fields) {
      if (node["name"] == name) return &node;
    }
    return nullptr;
  }

  void take_environment() {
    for (const Leaf& leaf : leaves_) {
      if (!known().active(leaf)) continue;
      const auto text = from_environment(leaf);
      if (!text) continue;
      const Origin origin{Origin::Kind::environment, leaf.env};
      set(leaf, parse_text(*leaf.node, *text, leaf.path, origin.text()), origin);
    }
    if (call_.environment) return;
    std::vector<std::string> known;
    for (const auto& [verb, entry] : document_["verbs"].items()) {
      for (const Leaf& leaf : leaves(document_, verb)) known.push_back(leaf.env);
    }
    for (char** item = environ; item && *item; ++item) {
      const std::string name = std::string(*item).substr(0, std::string_view(*item).find('='));
      if (!name.starts_with("SMIDGEN_") ||
          std::find(known.begin(), known.end(), name) != known.end()) {
        continue;
      }
      if (name == "SMIDGEN_TARGET" || name == "SMIDGEN_KERNELS") continue;
      const std::vector<std::string> near = nearest(name, known, 1);
      // Other programs may own such names; only what looks like a slip is worth a line.
      const bool slip =
          !near.empty() && near[0].size() + 2 >= name.size() && name.size() + 2 >= near[0].size();
      if (slip)
        result_.notes.push_back(
            str("the environment's ", name, " is not used; is it ", near[0], "?"));
    }
  }

  void set(const Leaf& leaf, const Json& value, const Origin& origin) {
    const std::string where = origin.text();
    if ((*leaf.node)["type"] != "oneof") {
      settings_[leaf.path] = {check_value(*leaf.node, value, leaf.path, where, registries_),
                              origin};
      return;
    }
    if (value.is_null()) {
      settings_[leaf.path] = {value, origin};
      return;
    }
    // A lower layer's whole choice was replaced when another name won; its own keys went with it.
    settings_[leaf.path] = {value.is_object() ? value.at("name") : value, origin};
    if (!value.is_object()) return;
    for (const auto& [key, item] : value.items()) {
      if (key == "name") continue;
      const std::string path = str(leaf.path, ".", key);
      const Json* node = find_node(entry_fields(leaf), key);
      if (!node) known().refuse_key(path, where);
      settings_[path] = {check_value(*node, item, path, where, registries_), origin};
    }
  }

  void take_words() {
    std::map<std::string, bool> seen;
    for (const CommandWord& word : words_) {
      if (word.key.empty()) continue;
      const Origin origin{Origin::Kind::flag, word.key};
      const Leaf* leaf = nullptr;
      for (const Leaf& candidate : leaves_) {
        const bool name =
            word.key == candidate.path + ".name" && candidate.node->at("type") == "oneof";
        if (known().active(candidate) && (names_leaf(word, candidate) || name)) leaf = &candidate;
      }
      if (!leaf) known().refuse_word(word);
      const std::string& type = (*leaf->node)["type"].get_ref<const std::string&>();
      Json value = type == "bool" && !word.has_value
                       ? Json(true)
                       : parse_text(*leaf->node, word.needed_value(), leaf->path, origin.text());
      // A list flag may be repeated; anything else that is repeated takes the last.
      if (type == "list" && seen[leaf->path] && value.is_array()) {
        Json longer = settings_[leaf->path].value;
        longer.insert(longer.end(), value.begin(), value.end());
        value = std::move(longer);
      }
      seen[leaf->path] = true;
      set(*leaf, value, origin);
    }
  }

  Json build(const Json& fields, const std::string& prefix) const {
    Json values = Json::object();
    for (const Json& node : fields) {
      const std::string name = node["name"];
      const std::string path = prefix.empty() ? name : str(prefix, ".", name);
      if (node["type"] == "group") {
        values[name] = build(node["fields"], path);
        continue;
      }
      if (node["type"] == "oneof" && chosen_.contains(path)) {
        const Leaf leaf{path, "", "", &node, "", ""};
        Json chosen = {{"name", chosen_.at(path)}};
        const Json own = build(entry_fields(leaf), path);
        for (const auto& [key, item] : own.items()) chosen[key] = item;
        values[name] = std::move(chosen);
        continue;
      }
      const auto setting = settings_.find(path);
      const bool given = setting != settings_.end() && !(node["type"] == "oneof");
      const bool empty = given && node.contains("required") && setting->second.value == "";
      if (node.contains("required") && (!given || empty)) {
        const bool bare =
            std::find(positional_.begin(), positional_.end(), path) != positional_.end();
        const std::string flag = bare ? join(positional_, " ") : "--" + kebab(name);
        throw Error(ErrorKind::usage, str("[", path, "] must be set"),
                    empty ? setting->second.origin.text() : "",
                    str(bare ? "usage: smidgen " + call_.verb + " " : "give ", flag,
                        node.contains("help") ? ": " + node["help"].get<std::string>() : ""));
      }
      // A choice that is not in chosen_ was unset on purpose or never had a default.
      const bool unset = node["type"] == "oneof";
      values[name] = given ? setting->second.value : unset ? Json() : node.value("default", Json());
    }
    return values;
  }

  const Json& document_;
  const Call& call_;
  std::vector<Leaf> leaves_;
  const Json* verb_ = nullptr;
  const Json* registries_ = nullptr;
  std::vector<std::string> positional_;
  std::vector<CommandWord> words_;
  std::string recipe_file_;
  YamlNode recipe_;
  std::map<std::string, std::string> chosen_;
  std::map<std::string, Setting> settings_;
  Resolved result_;
};

}  // namespace

Resolved resolve(const Json& document, const Call& call) {
  return Resolver(document, call).resolve();
}

std::map<std::string, std::string> chosen_entries(const Json& document, const Call& call) {
  Call plain = call;
  std::erase_if(plain.words,
                [](const std::string& word) { return word == "--help" || word == "-h"; });
  Resolver resolver(document, plain);
  resolver.choose();
  return resolver.chosen();
}

}  // namespace smidgen
