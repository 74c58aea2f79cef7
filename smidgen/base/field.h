// What one field of a config can be, and what can be said about it beside its name and member.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

// Everything about a field except its name, its member and its default (which is the member's
// initialiser).
struct Field {
  std::string help = {};
  std::optional<double> min = {}, max = {};  // inclusive; of a list or map: of each number in it
  bool required = false;                     // no default: somebody must set it
  std::vector<std::string> was = {};  // old names; using one is an error that says the new name
  std::string peft = {};              // the key in HF PEFT's adapter_config.json
  Json peft_default =
      Json(Json::value_t::discarded);  // what a missing key means there, where ours differs
  std::string unit = {};               // "tokens", "s": shown in help
  std::string env = {};                // environment variable; SMIDGEN_<KEY> when empty
};

// A number of bytes, written "2GB" (10^9), "2GiB" (2^30), "512KB" or "512".
struct Size {
  int64_t bytes = 0;
  operator int64_t() const { return bytes; }
  auto operator<=>(const Size&) const = default;
};

// Parses a size; throws usage naming the text. "1.5GiB", "500 MB" and "4096" are fine.
Size parse_size(std::string_view text);
// The largest unit that divides it: 2000000000 -> "2GB", 1536 -> "1536".
std::string to_string(Size size);

// Which sites something attaches to: a word ("all-linear"), names, or patterns ("re:..."), in any
// mixture. A lone string and a list of one string are the same thing.
struct Targets {
  std::vector<std::string> items;
  bool empty() const { return items.empty(); }
  bool is(std::string_view word) const { return items.size() == 1 && items[0] == word; }
  auto operator<=>(const Targets&) const = default;
};

// One entry of a registry with its own fields: {name: lora, rank: 8}. `config` holds the entry's
// fields only. An empty name means that nothing was chosen.
struct OneOf {
  std::string name = {};
  Json config = Json::object();
  bool operator==(const OneOf&) const = default;
};

// Keys in the order they were written: pattern -> number.
template <class T>
using OrderedMap = std::vector<std::pair<std::string, T>>;

// FieldType<T>: how a member of type T is described in a schema node and moved to and from JSON.
template <class T>
struct FieldType;

template <>
struct FieldType<bool> {
  static void describe(Json& node) { node["type"] = "bool"; }
  static Json write(bool value) { return value; }
  static bool read(const Json& value) { return value.get<bool>(); }
};

template <class T>
  requires std::is_integral_v<T>
struct FieldType<T> {
  static void describe(Json& node) {
    node["type"] = "int";
    if (std::is_unsigned_v<T> && !node.contains("min")) node["min"] = 0;
  }
  static Json write(T value) { return value; }
  static T read(const Json& value) { return value.get<T>(); }
};

template <class T>
  requires std::is_floating_point_v<T>
struct FieldType<T> {
  static void describe(Json& node) { node["type"] = "float"; }
  static Json write(T value) { return static_cast<double>(value); }
  static T read(const Json& value) { return static_cast<T>(value.get<double>()); }
};

template <>
struct FieldType<std::string> {
  static void describe(Json& node) { node["type"] = "string"; }
  static Json write(const std::string& value) { return value; }
  // A choice that nobody made is null in JSON and empty here.
  static std::string read(const Json& value) {
    return value.is_null() ? std::string() : value.get<std::string>();
  }
};

template <>
struct FieldType<std::filesystem::path> {
  static void describe(Json& node) { node["type"] = "path"; }
  static Json write(const std::filesystem::path& value) { return value.string(); }
  static std::filesystem::path read(const Json& value) { return value.get<std::string>(); }
};

template <>
struct FieldType<Size> {
  static void describe(Json& node) { node["type"] = "size"; }
  static Json write(Size value) { return value.bytes; }
  static Size read(const Json& value) { return {value.get<int64_t>()}; }
};

template <>
struct FieldType<Targets> {
  static void describe(Json& node) { node["type"] = "targets"; }
  static Json write(const Targets& value) {
    return value.items.size() == 1 ? Json(value.items[0]) : Json(value.items);
  }
  static Targets read(const Json& value) {
    if (value.is_string()) return {{value.get<std::string>()}};
    return {value.get<std::vector<std::string>>()};
  }
};

template <class T>
struct FieldType<std::vector<T>> {
  static void describe(Json& node) {
    Json item = node;
    FieldType<T>::describe(item);
    node["type"] = "list";
    node["items"] = item["type"];
  }
  static Json write(const std::vector<T>& value) {
    Json list = Json::array();
    for (const T& item : value) list.push_back(FieldType<T>::write(item));
    return list;
  }
  static std::vector<T> read(const Json& value) {
    std::vector<T> list;
    for (const Json& item : value) list.push_back(FieldType<T>::read(item));
    return list;
  }
};

template <class T>
struct FieldType<std::vector<std::pair<std::string, T>>> {
  static void describe(Json& node) {
    Json item = node;
    FieldType<T>::describe(item);
    node["type"] = "map";
    node["items"] = item["type"];
  }
  static Json write(const OrderedMap<T>& value) {
    Json map = Json::object();
    for (const auto& [key, item] : value) map[key] = FieldType<T>::write(item);
    return map;
  }
  static OrderedMap<T> read(const Json& value) {
    OrderedMap<T> map;
    for (const auto& [key, item] : value.items()) map.emplace_back(key, FieldType<T>::read(item));
    return map;
  }
};

template <class T>
struct FieldType<std::optional<T>> {
  static void describe(Json& node) {
    FieldType<T>::describe(node);
    node["optional"] = true;
  }
  static Json write(const std::optional<T>& value) {
    return value ? FieldType<T>::write(*value) : Json(nullptr);
  }
  static std::optional<T> read(const Json& value) {
    if (value.is_null()) return std::nullopt;
    return FieldType<T>::read(value);
  }
};

template <>
struct FieldType<OneOf> {
  static Json write(const OneOf& value) {
    if (value.name.empty()) return nullptr;
    Json object = {{"name", value.name}};
    for (const auto& [key, item] : value.config.items()) object[key] = item;
    return object;
  }
  static OneOf read(const Json& value) {
    if (value.is_null()) return {};
    OneOf chosen{value.at("name").get<std::string>(), value};
    chosen.config.erase("name");
    return chosen;
  }
};

}  // namespace smidgen
