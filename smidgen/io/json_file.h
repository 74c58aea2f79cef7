// JSON from disk, with the file, line and column in every error.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

// Throws not_found or format. A repeated key, a zero byte and nesting deeper than 200 are errors,
// all with line and column. Reading takes time and memory in proportion to the text; but Json keeps
// order and finds a key by walking, so looking up many keys of a large object is for the table
// below.
Json read_json(const fs::path& path);
// `where` is the file; `text` starts at its line `first_line`.
Json parse_json(std::string_view text, const std::string& where, int64_t first_line = 1);
// The same without order, for objects with many thousand keys that are looked up.
nlohmann::json read_json_table(const fs::path& path);

}  // namespace smidgen
