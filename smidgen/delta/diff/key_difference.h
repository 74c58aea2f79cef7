// What differs between two JSON documents: configuration, metadata, tokenizers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct KeyDifference {
  std::string file;                   // "config.json"
  std::string key;                    // "rope_scaling.factor", "added_tokens[3].content"
  std::optional<Json> first, second;  // none: the key is not there
  Json to_json() const;
};

// Every leaf that differs, in the order of `first`, then what only `second` has. Numbers are equal
// where they are in JSON: 1 and 1.0 are. Objects and lists are walked; where one side holds another
// kind of value, or no value, the whole value is one difference.
std::vector<KeyDifference> key_differences(const std::string& file, const Json& first,
                                           const Json& second);

}  // namespace smidgen
