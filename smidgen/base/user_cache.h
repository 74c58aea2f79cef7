// Small facts about this machine and its files that take seconds to find out again: tables of JSON
// in the user's cache folder. Whoever deletes them loses time and nothing else.
#pragma once

#include <string>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

// $XDG_CACHE_HOME/smidgen, or ~/.cache/smidgen; empty where there is neither.
fs::path user_cache();

// The table NAME.json by key; an empty object where it is missing or damaged.
Json read_cache(const std::string& name);

// Sets one entry; the oldest go beyond 200. What cannot be written is left out.
void keep_in_cache(const std::string& name, const std::string& key, const Json& entry);

// SHA-256 of a file, read once for each of its states: size, inode, times of content and of
// change. One that changed within the last seconds is not kept.
std::string cached_file_digest(const fs::path& path);

}  // namespace smidgen
