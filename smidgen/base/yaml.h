// YAML as a small tree that keeps the place and the spelling of every scalar, so that the field's
// type decides what `no` or `1e-4` means. Read by yaml-cpp's event parser.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct YamlNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  bool plain = true;      // a scalar without quotes
  std::string text = {};  // of a scalar
  std::vector<YamlNode> items = {};
  std::vector<std::pair<YamlNode, YamlNode>> entries = {};
  int line = 0, column = 0;  // from 1

  std::string place(const std::string& file) const;  // "file:line:column"
};

// Exactly one document. Refused with a format error that names the place: syntax errors, duplicate
// keys, keys that are not scalars, tags, more than 64 levels, more than 100000 nodes after aliases
// are expanded, more than 4 MiB.
YamlNode parse_yaml(std::string_view text, const std::string& file);

// Every document of a text whose documents are separated by `---`, each with the limits above and
// anchors of its own. At most 256 of them; a text without any has none.
std::vector<YamlNode> parse_yaml_documents(std::string_view text, const std::string& file);

// Reads a file and parses it.
YamlNode read_yaml(const std::string& file);
std::vector<YamlNode> read_yaml_documents(const std::string& file);

// Without a schema: YAML 1.2 core types (true/false/null, decimal integers, floats); everything
// else is text.
Json to_json(const YamlNode& node);

}  // namespace smidgen
