// HF PEFT's adapter_config.json seen through a config's field list.
#include <algorithm>

#include "smidgen/base/schema.h"

namespace smidgen {
namespace {

// PEFT reads a string in target_modules as a pattern for the whole name, a list as names or name
// suffixes. The word "all-linear" is its own.
Json targets_to_peft(const Json& value) {
  const Targets targets = FieldType<Targets>::read(value);
  if (targets.is("all-linear")) return "all-linear";
  const auto is_pattern = [](const std::string& item) { return item.starts_with("re:"); };
  if (std::none_of(targets.items.begin(), targets.items.end(), is_pattern)) return targets.items;
  std::string pattern;
  for (const std::string& item : targets.items) {
    if (!pattern.empty()) pattern += "|";
    if (targets.items.size() == 1) return item.substr(3);
    pattern += is_pattern(item) ? str("(?:", item.substr(3), ")") : str("(?:.*\\.)?", item);
  }
  return pattern;
}

Json targets_from_peft(const Json& value) {
  if (value.is_string() && value != "all-linear") return "re:" + value.get<std::string>();
  return value;
}

bool says_nothing(const Json& value) {
  if (value.is_null() || value == false) return true;
  return (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         (value.is_structured() && value.empty());
}

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

Json peft_values(const Json& fields, const Json& peft, const PeftOptions& options, Json* kept) {
  if (!peft.is_object()) {
    throw Error(ErrorKind::format, "an adapter configuration must be a JSON object", options.where);
  }
  Json values = Json::object();
  std::vector<std::string> known = options.handled;
  for (const Json& node : fields) {
    if (!node.contains("peft")) continue;
    const std::string key = node["peft"];
    known.push_back(key);
    const auto given = peft.find(key);
    Json value;
    if (given != peft.end()) {
      value = *given;
    } else if (node.contains("peft_default")) {
      value = node["peft_default"];
    } else {
      continue;
    }
    // PEFT writes null where a list, map or set of targets is simply empty.
    const std::string& type = node["type"].get_ref<const std::string&>();
    if (value.is_null() && !node.value("optional", false)) {
      if (type == "list" || type == "targets") value = Json::array();
      if (type == "map") value = Json::object();
    }
    values[node["name"].get<std::string>()] = type == "targets" ? targets_from_peft(value) : value;
  }
  for (const auto& [key, value] : peft.items()) {
    if (contains(known, key)) continue;
    if (!says_nothing(value) && !contains(options.allow, key)) {
      std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
      if (text.size() > 60) text = text.substr(0, 57) + "...";
      throw Error(ErrorKind::unsupported,
                  str("[", key, "] is ", text, ", and this key is not known"), options.where,
                  did_you_mean(key, known, str("if it may be ignored: --allow-config-key ", key)));
    }
    if (kept) (*kept)[key] = value;
  }
  return values;
}

Json peft_keys(const Json& fields, const Json& values) {
  Json peft = Json::object();
  for (const Json& node : fields) {
    if (!node.contains("peft")) continue;
    const Json& value = values.at(node["name"].get<std::string>());
    const bool targets = node["type"] == "targets" && !value.is_null();
    peft[node["peft"].get<std::string>()] = targets ? targets_to_peft(value) : value;
  }
  return peft;
}

}  // namespace smidgen
