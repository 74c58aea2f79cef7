// The JSON header of a safetensors file, read in one pass and in bounded memory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

struct SafetensorsEntry {
  std::string name;
  Format format = Format::f32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the buffer
  uint64_t offset = 0;          // of the entry's name in the file
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> entries;  // in the order of the text
};

// `text` starts at byte 8 of `file`. Throws format with file, offset and tensor.
SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file);

// A name as serde_json writes it, with quotes.
std::string json_string(const std::string& text);

}  // namespace smidgen
