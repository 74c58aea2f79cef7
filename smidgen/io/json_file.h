// JSON from disk, with the file, line and column in every error.
#pragma once

#include <filesystem>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

// Throws not_found or format. Repeated keys and nesting deeper than 500 are errors.
Json read_json(const fs::path& path);
Json parse_json(std::string_view text, const std::string& where);

}  // namespace smidgen
