#include "smidgen/base/schema.h"

#include <charconv>
#include <cmath>

namespace smidgen {
namespace {

std::string dotted(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : str(path, ".", name);
}

[[noreturn]] void fail(const std::string& path, const std::string& what, const std::string& where,
                       std::string hint = {}) {
  throw Error(ErrorKind::usage, str("[", path, "] ", what), where, std::move(hint));
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

std::string number_text(double value) {
  return Json(value).dump();
}

std::string bound_text(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15)
    return str(static_cast<int64_t>(value));
  return number_text(value);
}

void check_range(const Json& node, double value, const std::string& path,
                 const std::string& where) {
  const Json* min = node.contains("min") ? &node["min"] : nullptr;
  const Json* max = node.contains("max") ? &node["max"] : nullptr;
  if (!std::isfinite(value)) fail(path, "must be a finite number", where);
  const bool low = min && value < min->get<double>(), high = max && value > max->get<double>();
  if (!low && !high) return;
  std::string need;
  if (min && max) {
    need = str("from ", bound_text(*min), " to ", bound_text(*max));
  } else {
    need = min ? str("at least ", bound_text(*min)) : str("at most ", bound_text(*max));
  }
  fail(path, str("is ", bound_text(value), ", but must be ", need), where);
}

std::string_view type_words(std::string_view type) {
  if (type == "bool") return "true or false";
  if (type == "int") return "a whole number";
  if (type == "float") return "a number";
  if (type == "string") return "text";
  if (type == "path") return "a path";
  if (type == "size") return "a size such as 2GB";
  return type;
}

[[noreturn]] void wrong_type(std::string_view type, const Json& value, const std::string& path,
                             const std::string& where) {
  fail(path, str("is ", shown(value), ", but must be ", type_words(type)), where);
}

Json check_scalar(const Json& node, const std::string& type, const Json& value,
                  const std::string& path, const std::string& where) {
  if (type == "bool") {
    if (!value.is_boolean()) wrong_type(type, value, path, where);
    return value;
  }
  if (type == "int") {
    // 8.0 is a whole number to a reader of JSON.
    if (value.is_number_float() && std::fabs(value.get<double>()) < 0x1p53 &&
        value.get<double>() == std::floor(value.get<double>())) {
      return check_scalar(node, type, static_cast<int64_t>(value.get<double>()), path, where);
    }
    if (!value.is_number_integer()) wrong_type(type, value, path, where);
    check_range(node, value.get<double>(), path, where);
    // Beyond int64 only a field that says min 0 and is read as unsigned can hold it.
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX} &&
        !node.contains("min")) {
      fail(path, str("is ", shown(value), ", which is too large"), where);
    }
    return value;
  }
  if (type == "float") {
    if (!value.is_number()) wrong_type(type, value, path, where);
    check_range(node, value.get<double>(), path, where);
    return value.get<double>();
  }
  if (type == "size") {
    Size size;
    if (value.is_string()) {
      try {
        size = parse_size(value.get<std::string>());
      } catch (const Error& error) {
        fail(path, error.message(), where, error.hint());
      }
    } else if (value.is_number_integer() && value.get<double>() >= 0 &&
               value.get<double>() < 0x1p62) {
      size.bytes = value.get<int64_t>();
    } else {
      wrong_type(type, value, path, where);
    }
    check_range(node, static_cast<double>(size.bytes), path, where);
    return size.bytes;
  }
  if (!value.is_string()) wrong_type(type, value, path, where);
  if (type == "path" && value.get_ref<const std::string&>().find('\0') != std::string::npos) {
    fail(path, "contains a zero byte", where);
  }
  return value;
}

std::vector<std::string> names_of(const Json& object) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : object.items()) names.push_back(name);
  return names;
}

const Json* registry_of(const Json& node, const Json* registries) {
  if (!registries) return nullptr;
  const auto found = registries->find(node["registry"].get<std::string>());
  return found == registries->end() ? nullptr : &*found;
}

void check_word(const std::string& word, const std::vector<std::string>& known,
                const std::string& path, const std::string& where) {
  for (const std::string& name : known) {
    if (name == word) return;
  }
  fail(path, str("is '", word, "', which is not one of: ", join(known)), where,
       did_you_mean(word, known));
}

Json check_choice(const Json& node, const Json& value, const std::string& path,
                  const std::string& where, const Json* registries) {
  if (!value.is_string()) fail(path, str("is ", shown(value), ", but must be a word"), where);
  const std::string word = value.get<std::string>();
  if (node.contains("choices")) {
    check_word(word, node["choices"].get<std::vector<std::string>>(), path, where);
  } else if (const Json* registry = registry_of(node, registries)) {
    check_word(word, names_of(*registry), path, where);
  }
  return value;
}

Json check_oneof(const Json& node, const Json& value, const std::string& path,
                 const std::string& where, const Json* registries) {
  if (value.is_string()) return check_oneof(node, {{"name", value}}, path, where, registries);
  if (!value.is_object() || !value.contains("name") || !value["name"].is_string()) {
    fail(path, str("is ", shown(value), ", but must be a name or {name: ..., ...}"), where);
  }
  const std::string name = value["name"].get<std::string>();
  const Json* registry = registry_of(node, registries);
  if (!registry) return value;
  check_word(name, names_of(*registry), path, where);
  Json rest = value;
  rest.erase("name");
  const Json& entry = (*registry)[name];
  const Json fields = entry.contains("fields") ? entry["fields"] : Json::array();
  Json checked = {{"name", name}};
  const Json own = check_fields(fields, rest, path, where, registries);
  for (const auto& [key, item] : own.items()) checked[key] = item;
  return checked;
}

}  // namespace

namespace schema {

Json make_node(std::string_view name, const Field& field) {
  Json node = {{"name", name}, {"type", ""}};
  if (!field.help.empty()) node["help"] = field.help;
  if (field.min) node["min"] = *field.min;
  if (field.max) node["max"] = *field.max;
  if (field.required) node["required"] = true;
  if (!field.was.empty()) node["was"] = field.was;
  if (!field.peft.empty()) node["peft"] = field.peft;
  if (!field.peft_default.is_discarded()) node["peft_default"] = field.peft_default;
  if (!field.unit.empty()) node["unit"] = field.unit;
  if (!field.env.empty()) node["env"] = field.env;
  return node;
}

void set_default(Json& node, Json value) {
  const std::string& type = node["type"].get_ref<const std::string&>();
  const bool unset = value.is_null() || (type == "choice" && value == "");
  if (unset && !node.contains("required")) node["optional"] = true;
  if (!node.contains("required")) node["default"] = unset ? Json(nullptr) : std::move(value);
}

void Describer::add(Json node, Json value) {
  for (const Json& other : nodes_) SMIDGEN_ASSERT(other["name"] != node["name"]);
  set_default(node, std::move(value));
  nodes_.push_back(std::move(node));
}

}  // namespace schema

Json parse_text(const Json& node, std::string_view text, const std::string& path,
                const std::string& where) {
  const std::string& type = node["type"].get_ref<const std::string&>();
  if (node.value("optional", false) && (text == "null" || text == "none")) return nullptr;
  if (type == "bool") {
    for (const std::string_view yes : {"true", "yes", "on", "1", "True", "Yes", "On"}) {
      if (text == yes) return true;
    }
    for (const std::string_view no : {"false", "no", "off", "0", "False", "No", "Off"}) {
      if (text == no) return false;
    }
    wrong_type(type, std::string(text), path, where);
  }
  if (type == "int" || type == "float") {
    std::string_view digits = text;
    if (digits.starts_with('+')) digits.remove_prefix(1);
    const char *begin = digits.data(), *end = begin + digits.size();
    if (type == "int") {
      int64_t number = 0;
      auto result = std::from_chars(begin, end, number);
      if (result.ec == std::errc() && result.ptr == end) return number;
      uint64_t large = 0;
      result = std::from_chars(begin, end, large);
      if (result.ec == std::errc() && result.ptr == end) return large;
    }
    double number = 0;
    const auto result = std::from_chars(begin, end, number);
    if (result.ec != std::errc() || result.ptr != end || digits.empty()) {
      wrong_type(type, std::string(text), path, where);
    }
    return number;
  }
  const bool collection =
      type == "list" || type == "map" || type == "group" || type == "oneof" || type == "targets";
  if (collection && !text.empty() && (text.front() == '[' || text.front() == '{')) {
    Json value = Json::parse(text, nullptr, false);
    if (!value.is_discarded()) return value;
    fail(path, "is not valid JSON", where);
  }
  if (type == "targets" && text.starts_with("re:")) return text;
  if (type == "list" || type == "map" || type == "targets") {
    const Json item = {{"type", node.value("items", "string")}};
    Json result = type == "map" ? Json::object() : Json::array();
    while (!text.empty()) {
      const size_t comma = text.find(',');
      std::string_view part = text.substr(0, comma);
      text.remove_prefix(comma == text.npos ? text.size() : comma + 1);
      while (part.starts_with(' ')) part.remove_prefix(1);
      while (part.ends_with(' ')) part.remove_suffix(1);
      if (type != "map") {
        result.push_back(parse_text(item, part, path, where));
        continue;
      }
      const size_t equals = part.rfind('=');
      if (equals == part.npos) fail(path, str("needs pattern=number, not '", part, "'"), where);
      result[std::string(part.substr(0, equals))] =
          parse_text(item, part.substr(equals + 1), path, where);
    }
    return result;
  }
  return text;
}

Json check_value(const Json& node, const Json& value, const std::string& path,
                 const std::string& where, const Json* registries) {
  const std::string& type = node["type"].get_ref<const std::string&>();
  if (node.value("optional", false) && (value.is_null() || (type == "choice" && value == ""))) {
    return nullptr;
  }
  if (type == "group") return check_fields(node["fields"], value, path, where, registries);
  if (type == "choice") return check_choice(node, value, path, where, registries);
  if (type == "oneof") return check_oneof(node, value, path, where, registries);
  if (type == "targets") {
    if (value.is_string()) return value;
    if (!value.is_array()) fail(path, "must be a word, a list of names or re:PATTERN", where);
    for (const Json& item : value) check_scalar(node, "string", item, path, where);
    return value.size() == 1 ? value[0] : value;
  }
  if (type == "list") {
    if (!value.is_array() && !value.is_primitive()) fail(path, "must be a list", where);
    Json list = Json::array();
    // A lone value is a list of one; iterating a scalar visits it once.
    for (const Json& item : value) {
      list.push_back(check_scalar(node, node["items"].get<std::string>(), item, path, where));
    }
    return list;
  }
  if (type == "map") {
    if (!value.is_object()) fail(path, "must be a map of pattern: value", where);
    Json map = Json::object();
    for (const auto& [key, item] : value.items()) {
      map[key] =
          check_scalar(node, node["items"].get<std::string>(), item, dotted(path, key), where);
    }
    return map;
  }
  return check_scalar(node, type, value, path, where);
}

Json check_fields(const Json& fields, const Json& values, const std::string& path,
                  const std::string& where, const Json* registries) {
  if (!values.is_object()) {
    fail(path.empty() ? "config" : path, str("is ", shown(values), ", but must be a map"), where);
  }
  std::vector<std::string> known;
  for (const Json& node : fields) known.push_back(node["name"]);
  for (const auto& [key, value] : values.items()) {
    bool found = false;
    for (const Json& node : fields) {
      if (node["name"] == key) found = true;
      if (!node.contains("was")) continue;
      for (const Json& old : node["was"]) {
        if (old == key) {
          fail(dotted(path, key), str("is now called '", node["name"].get<std::string>(), "'"),
               where, str("write ", dotted(path, node["name"].get<std::string>()), " instead"));
        }
      }
    }
    if (!found) {
      fail(dotted(path, key), "is not a known key", where,
           did_you_mean(key, known, str("known: ", join(known))));
    }
  }
  Json checked = Json::object();
  for (const Json& node : fields) {
    const std::string& name = node["name"].get_ref<const std::string&>();
    const auto given = values.find(name);
    if (given != values.end()) {
      checked[name] = check_value(node, *given, dotted(path, name), where, registries);
    } else if (node["type"] == "group") {
      checked[name] =
          check_fields(node["fields"], Json::object(), dotted(path, name), where, registries);
    } else if (node.contains("required")) {
      fail(dotted(path, name), "must be set", where, node.value("help", ""));
    } else {
      const Json value = node.value("default", Json());
      const bool choose = node["type"] == "oneof" && !value.is_null();
      checked[name] =
          choose ? check_oneof(node, value, dotted(path, name), where, registries) : value;
    }
  }
  return checked;
}

}  // namespace smidgen
