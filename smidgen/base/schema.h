// One field list per config, and everything that is made from it: flags, recipes, help, JSON
// schema, adapter_config.json. A config is a plain struct; its list is a function beside it, found
// by its argument:
//
//   struct LoraConfig { int64_t rank = 8; double alpha = 8; Targets target{{"all-linear"}}; };
//   template <class V> void fields(V& v, LoraConfig& c) {
//     v("rank", c.rank, {.help = "Inner dimension", .min = 1, .max = 65536, .was = {"r"}, .peft =
//     "r"}); v("alpha", c.alpha, {.help = "The update is scaled by alpha / rank", .peft =
//     "lora_alpha"}); v("target", c.target, {.help = "Sites to attach to", .peft =
//     "target_modules"});
//   }
//
//   v(name, member, {...})                        bool, int, float, string, path, Size, Targets,
//   vector, OrderedMap,
//                                                 optional of these
//   v.choice(name, string, {"a", "b"}, {...})     one of these words
//   v.choice(name, string, "format", {...})       the name of an entry of that registry
//   v.choice(name, enum, {{"a", E::a}}, {...})    the same with an enum
//   v.oneof(name, OneOf, "method", {...})         an entry of that registry with its own fields
//   v.group(name, struct, {...})                  a struct with its own list; its leaves are flags
//   like any other
//
// To share a list between verbs, call fields(v, c.common) from within the list.
//
// A schema node is JSON: {name, type, help, default, min, max, required, optional, choices,
// registry, fields, ...}. A schema document is {verbs: {tune: {summary, fields, examples}},
// registries: {method: {lora: {summary, fields}}}}.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/base/field.h"
#include "smidgen/base/json.h"

namespace smidgen {

// The values of one field list as JSON, checked: type, range, choices, unknown and renamed names
// (usage errors with the nearest name), missing required ones; defaults filled in, keys in the
// order of the list. `path` is prefixed to key names in messages. With `registries` (the part of a
// schema document) oneof and registry choices are checked too; without, they pass through.
Json check_fields(const Json& fields, const Json& values, const std::string& path = {},
                  const std::string& where = {}, const Json* registries = nullptr);
// One value against its node; returns it in canonical form (1 -> 1.0, "2GB" -> 2000000000, "a" ->
// ["a"]).
Json check_value(const Json& node, const Json& value, const std::string& path,
                 const std::string& where = {}, const Json* registries = nullptr);
// The value that a flag, an environment variable or a plain YAML scalar spells, by the node's type.
// Not yet checked.
Json parse_text(const Json& node, std::string_view text, const std::string& path,
                const std::string& where = {});

namespace schema {

Json make_node(std::string_view name, const Field& field);
void set_default(Json& node, Json value);

// Collects the nodes of a list.
class Describer {
 public:
  template <class T>
  void operator()(std::string_view name, T& member, const Field& field = {}) {
    Json node = make_node(name, field);
    FieldType<T>::describe(node);
    add(std::move(node), FieldType<T>::write(member));
  }
  void choice(std::string_view name, std::string& member, const char* registry,
              const Field& field = {}) {
    Json node = make_node(name, field);
    node["type"] = "choice";
    node["registry"] = registry;
    add(std::move(node), member);
  }
  void choice(std::string_view name, std::string& member, const std::vector<std::string>& words,
              const Field& field = {}) {
    Json node = make_node(name, field);
    node["type"] = "choice";
    node["choices"] = words;
    add(std::move(node), member);
  }
  template <class E>
    requires std::is_enum_v<E>
  void choice(std::string_view name, E& member,
              std::initializer_list<std::pair<const char*, E>> words, const Field& field = {}) {
    Json node = make_node(name, field);
    node["type"] = "choice";
    node["choices"] = Json::array();
    Json value;
    for (const auto& [word, entry] : words) {
      node["choices"].push_back(word);
      if (entry == member) value = word;
    }
    add(std::move(node), std::move(value));
  }
  void oneof(std::string_view name, OneOf& member, const char* registry, const Field& field = {}) {
    Json node = make_node(name, field);
    node["type"] = "oneof";
    node["registry"] = registry;
    add(std::move(node), FieldType<OneOf>::write(member));
  }
  template <class C>
  void group(std::string_view name, C& member, const Field& field = {}) {
    Json node = make_node(name, field);
    node["type"] = "group";
    Describer inner;
    fields(inner, member);
    node["fields"] = std::move(inner.nodes_);
    nodes_.push_back(std::move(node));
  }
  Json take() { return std::move(nodes_); }

 private:
  void add(Json node, Json value);
  Json nodes_ = Json::array();
};

// Copies checked values into the members.
class Reader {
 public:
  explicit Reader(const Json& values) : values_(values) {}
  template <class T>
  void operator()(std::string_view name, T& member, const Field& = {}) {
    if (const Json* value = find(name)) member = FieldType<T>::read(*value);
  }
  void choice(std::string_view name, std::string& member, const char*, const Field& = {}) {
    (*this)(name, member);
  }
  void choice(std::string_view name, std::string& member, const std::vector<std::string>&,
              const Field& = {}) {
    (*this)(name, member);
  }
  template <class E>
    requires std::is_enum_v<E>
  void choice(std::string_view name, E& member,
              std::initializer_list<std::pair<const char*, E>> words, const Field& = {}) {
    const Json* value = find(name);
    if (!value) return;
    for (const auto& [word, entry] : words) {
      if (*value == word) member = entry;
    }
  }
  void oneof(std::string_view name, OneOf& member, const char*, const Field& = {}) {
    (*this)(name, member);
  }
  template <class C>
  void group(std::string_view name, C& member, const Field& = {}) {
    if (const Json* value = find(name)) {
      Reader inner(*value);
      fields(inner, member);
    }
  }

 private:
  const Json* find(std::string_view name) const {
    const auto item = values_.find(std::string(name));
    return item == values_.end() ? nullptr : &*item;
  }
  const Json& values_;
};

// Collects the members as JSON, in the order of the list.
class Writer {
 public:
  template <class T>
  void operator()(std::string_view name, T& member, const Field& = {}) {
    values_[std::string(name)] = FieldType<T>::write(member);
  }
  void choice(std::string_view name, std::string& member, const char*, const Field& = {}) {
    (*this)(name, member);
  }
  void choice(std::string_view name, std::string& member, const std::vector<std::string>&,
              const Field& = {}) {
    (*this)(name, member);
  }
  template <class E>
    requires std::is_enum_v<E>
  void choice(std::string_view name, E& member,
              std::initializer_list<std::pair<const char*, E>> words, const Field& = {}) {
    for (const auto& [word, entry] : words) {
      if (entry == member) values_[std::string(name)] = word;
    }
  }
  void oneof(std::string_view name, OneOf& member, const char*, const Field& = {}) {
    (*this)(name, member);
  }
  template <class C>
  void group(std::string_view name, C& member, const Field& = {}) {
    Writer inner;
    fields(inner, member);
    values_[std::string(name)] = inner.take();
  }
  Json take() { return std::move(values_); }

 private:
  Json values_ = Json::object();
};

}  // namespace schema

// The nodes of a config's list, in its order. Asserts that no name occurs twice.
template <class Config>
Json describe(Config defaults = {}) {
  schema::Describer v;
  fields(v, defaults);
  return v.take();
}

// A config from JSON, every value checked (see check_fields); missing keys keep their defaults.
template <class Config>
Config read_config(const Json& values, const std::string& path = {},
                   const std::string& where = {}) {
  const Json checked = check_fields(describe<Config>(), values, path, where);
  Config config;
  schema::Reader v(checked);
  fields(v, config);
  return config;
}

// Every field as JSON; read_config(write_config(c)) is c.
template <class Config>
Json write_config(Config config) {
  schema::Writer v;
  fields(v, config);
  return v.take();
}

// How to treat an adapter_config.json.
struct PeftOptions {
  std::vector<std::string> handled =
      {};  // keys the caller reads itself: peft_type, base_model_name_or_path ...
  std::vector<std::string> allow =
      {};                  // --allow-config-key: unknown keys with a value that are let through
  std::string where = {};  // the file, for messages
};

// Values by our names from a PEFT configuration. A missing key means PEFT's default. Unknown keys
// that are null, false, empty or allowed are moved to `kept`, so that writing the adapter again
// keeps them; others are errors.
Json peft_values(const Json& fields, const Json& peft, const PeftOptions& options, Json* kept);
// The PEFT keys of a config's values.
Json peft_keys(const Json& fields, const Json& values);

template <class Config>
Config from_peft(const Json& peft, const PeftOptions& options = {}, Json* kept = nullptr) {
  return read_config<Config>(peft_values(describe<Config>(), peft, options, kept), {},
                             options.where);
}
template <class Config>
Json to_peft(const Config& config) {
  return peft_keys(describe<Config>(), write_config(config));
}

// JSON Schema (draft 2020-12) of a recipe of `verb`, for editors.
Json json_schema(const Json& document, const std::string& verb);

}  // namespace smidgen
