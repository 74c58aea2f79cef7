#include "smidgen/text/json_node.h"

#include "smidgen/base/error.h"
#include "smidgen/text/utf8.h"

namespace smidgen {

JsonNode::JsonNode(const Json& json, std::string path, std::string file)
    : json_(&json), path_(std::move(path)), file_(std::move(file)) {
  if (!json.is_object())
    throw Error(ErrorKind::format, str("should be an object, not ", json.type_name()), where());
}

const Json* JsonNode::find(const std::string& key) const {
  const auto at = json_->find(key);
  return at == json_->end() || at->is_null() ? nullptr : &*at;
}

const Json& JsonNode::need(const std::string& key) const {
  if (const Json* value = find(key)) return *value;
  throw Error(ErrorKind::format, str("the key '", key, "' is missing"), where());
}

bool JsonNode::flag(const std::string& key, bool absent) const {
  const Json* value = find(key);
  if (!value) return absent;
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

int64_t JsonNode::integer(const std::string& key, int64_t absent) const {
  const Json* value = find(key);
  if (!value) return absent;
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX}))
    wrong(key, *value, "a whole number");
  return value->get<int64_t>();
}

std::string JsonNode::text(const std::string& key) const {
  const Json& value = need(key);
  if (!value.is_string()) wrong(key, value, "a string");
  return value.get<std::string>();
}

std::string JsonNode::text(const std::string& key, const std::string& absent) const {
  return find(key) ? text(key) : absent;
}

std::string JsonNode::character(const std::string& key, const std::string& absent) const {
  const std::string value = text(key, absent);
  if (value.empty() || utf8_step(value).length != value.size())
    wrong(key, need(key), "one character");
  return value;
}

const Json& JsonNode::list(const std::string& key) const {
  const Json& value = need(key);
  if (!value.is_array()) wrong(key, value, "a list");
  return value;
}

JsonNode JsonNode::child(const std::string& key) const {
  return {need(key), path(key), file_};
}

std::vector<JsonNode> JsonNode::children(const std::string& key) const {
  std::vector<JsonNode> all;
  size_t i = 0;
  for (const Json& item : list(key)) all.emplace_back(item, str(path(key), "[", i++, "]"), file_);
  return all;
}

void JsonNode::wrong(const std::string& key, const Json& value, const char* wanted) const {
  throw Error(ErrorKind::format, str("'", key, "' should be ", wanted, ", not ", value.type_name()),
              where());
}

void JsonNode::refuse(const std::string& what, const std::string& known) const {
  throw Error(ErrorKind::unsupported, what, where(), known);
}

int32_t read_token_id(const Json& value, const std::string& what, const std::string& where) {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<uint64_t>() >= uint64_t{kMaxTokenId}) ||
      value.get<int64_t>() < 0 || value.get<int64_t>() >= kMaxTokenId)
    throw Error(ErrorKind::format,
                str(what, " has the id ", value.dump(), ", which is not a whole number below ",
                    kMaxTokenId),
                where);
  return value.get<int32_t>();
}

}  // namespace smidgen
