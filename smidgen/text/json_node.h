// A JSON object with its place in the file, for messages such as "model.vocab (tokenizer.json)".
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

constexpr int64_t kMaxTokenId = int64_t{1} << 24;

// Every reader throws Error format, with the path of the key, when what it finds has another type.
class JsonNode {
 public:
  JsonNode(const Json& json, std::string path, std::string file);

  const Json& json() const { return *json_; }
  const std::string& file() const { return file_; }
  std::string where() const { return path_.empty() ? file_ : file_ + ": " + path_; }

  // Null when the key is absent or null.
  const Json* find(const std::string& key) const;
  const Json& need(const std::string& key) const;
  bool flag(const std::string& key, bool absent) const;
  int64_t integer(const std::string& key, int64_t absent) const;
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& absent) const;
  // A string of one character: its UTF-8.
  std::string character(const std::string& key, const std::string& absent) const;
  std::string type() const { return text("type"); }
  const Json& list(const std::string& key) const;
  JsonNode child(const std::string& key) const;
  std::vector<JsonNode> children(const std::string& key) const;  // objects of a list

  [[noreturn]] void wrong(const std::string& key, const Json& value, const char* wanted) const;
  [[noreturn]] void refuse(const std::string& what, const std::string& known) const;

 private:
  std::string path(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const Json* json_;
  std::string path_, file_;
};

// A token id: a whole number from 0 to below kMaxTokenId.
int32_t read_token_id(const Json& value, const std::string& what, const std::string& where);

}  // namespace smidgen
