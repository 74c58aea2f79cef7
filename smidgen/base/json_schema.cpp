// JSON Schema (draft 2020-12) from schema nodes, so that an editor completes and checks recipes.
#include "smidgen/base/schema.h"

namespace smidgen {
namespace {

Json object_of(const Json& fields, const Json& registries);

Json scalar_of(const std::string& type) {
  if (type == "bool") return {{"type", "boolean"}};
  if (type == "int") return {{"type", "integer"}};
  if (type == "float") return {{"type", "number"}};
  if (type == "size") {
    return {{"type", Json::array({"integer", "string"})},
            {"pattern", "^[0-9.]+ *([KMGTkmgt]i?)?[Bb]?$"}};
  }
  return {{"type", "string"}};
}

Json names_in(const Json& node, const Json& registries) {
  Json names = Json::array();
  const auto registry = registries.find(node["registry"].get<std::string>());
  if (registry == registries.end()) return names;
  for (const auto& [name, entry] : registry->items()) names.push_back(name);
  return names;
}

Json oneof_of(const Json& node, const Json& registries) {
  Json options = Json::array();
  options.push_back({{"enum", names_in(node, registries)}});
  const auto registry = registries.find(node["registry"].get<std::string>());
  if (registry != registries.end()) {
    for (const auto& [name, entry] : registry->items()) {
      Json option = object_of(entry.value("fields", Json::array()), registries);
      Json properties = {{"name", {{"const", name}}}};
      for (const auto& [key, property] : option["properties"].items()) properties[key] = property;
      option["properties"] = std::move(properties);
      option["required"].insert(option["required"].begin(), "name");
      if (entry.contains("summary")) option["description"] = entry["summary"];
      options.push_back(std::move(option));
    }
  }
  return {{"oneOf", std::move(options)}};
}

Json value_of(const Json& node, const Json& registries) {
  const std::string type = node["type"];
  Json schema;
  if (type == "group") {
    schema = object_of(node["fields"], registries);
  } else if (type == "oneof") {
    schema = oneof_of(node, registries);
  } else if (type == "choice") {
    schema["enum"] = node.contains("choices") ? node["choices"] : names_in(node, registries);
  } else if (type == "targets") {
    schema = {{"type", Json::array({"string", "array"})}, {"items", {{"type", "string"}}}};
  } else if (type == "list" || type == "map") {
    Json item = scalar_of(node["items"]);
    if (node.contains("min")) item["minimum"] = node["min"];
    if (node.contains("max")) item["maximum"] = node["max"];
    if (type == "list") {
      schema = {{"type", "array"}, {"items", std::move(item)}};
    } else {
      schema = {{"type", "object"}, {"additionalProperties", std::move(item)}};
    }
  } else {
    schema = scalar_of(type);
    if (node.contains("min")) schema["minimum"] = node["min"];
    if (node.contains("max")) schema["maximum"] = node["max"];
  }
  if (node.value("optional", false)) {
    schema = {{"anyOf", Json::array({std::move(schema), Json({{"type", "null"}})})}};
  }
  if (node.contains("help")) schema["description"] = node["help"];
  if (node.contains("default")) schema["default"] = node["default"];
  return schema;
}

Json object_of(const Json& fields, const Json& registries) {
  Json object = {{"type", "object"},
                 {"properties", Json::object()},
                 {"required", Json::array()},
                 {"additionalProperties", false}};
  for (const Json& node : fields) {
    object["properties"][node["name"].get<std::string>()] = value_of(node, registries);
  }
  return object;
}

}  // namespace

Json json_schema(const Json& document, const std::string& verb) {
  const Json& verbs = document.at("verbs");
  if (!verbs.contains(verb)) {
    std::vector<std::string> names;
    for (const auto& [name, entry] : verbs.items()) names.push_back(name);
    throw Error(ErrorKind::usage, str("there is no verb '", verb, "'"), "",
                did_you_mean(verb, names));
  }
  // Nothing is required in the file: a flag may give what the recipe leaves out.
  Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
               {"title", str("smidgen ", verb)}};
  const Json body = object_of(verbs[verb]["fields"], document.value("registries", Json::object()));
  for (const auto& [key, value] : body.items()) root[key] = value;
  return root;
}

}  // namespace smidgen
