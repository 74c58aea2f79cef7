// JSON from disk, with the file, line and column in every error.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

// Throws not_found or format. A repeated key and nesting deeper than 200 are errors.
// Json keeps order and finds keys by walking: right for configurations, quadratic for large tables.
Json read_json(const fs::path& path);
// `where` is the file; `text` starts at its line `first_line`.
Json parse_json(std::string_view text, const std::string& where, int64_t first_line = 1);
// The same without order, for objects with many thousand keys.
nlohmann::json read_json_table(const fs::path& path);

}  // namespace smidgen
