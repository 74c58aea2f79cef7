// Members of a JSON object from a file that somebody may have damaged: a missing one, or one of
// another type, is a format error that names the key, what was found, and `where`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "smidgen/base/json.h"

namespace smidgen {

const Json& member(const Json& object, const char* key, const std::string& where);
std::string text_member(const Json& object, const char* key, const std::string& where);
double number_member(const Json& object, const char* key, const std::string& where);
// A whole number from 0 to 2^63 - 1: steps, offsets and counts are never negative.
int64_t count_member(const Json& object, const char* key, const std::string& where);
int64_t count_of(const Json& value, const std::string& what, const std::string& where);

// True for the name of a file beside the one that names it: no folder, no "..", nothing odd. What
// files from elsewhere name is opened, and sometimes cut, so it must not lead out of its folder.
bool is_plain_name(std::string_view name);

}  // namespace smidgen
