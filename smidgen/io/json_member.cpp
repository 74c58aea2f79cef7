#include "smidgen/io/json_member.h"

#include <limits>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

[[noreturn]] void wrong(const std::string& what, const Json& found, const char* wanted,
                        const std::string& where) {
  std::string shown = found.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
  throw Error(ErrorKind::format, str(what, " is ", shown, ", not ", wanted), where);
}

std::string quoted(const char* key) {
  return str("\"", key, "\"");
}

}  // namespace

const Json& member(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object()) wrong("the value", object, "an object", where);
  const auto found = object.find(key);
  if (found == object.end())
    throw Error(ErrorKind::format, str("there is no ", quoted(key)), where);
  return *found;
}

std::string text_member(const Json& object, const char* key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_string()) wrong(quoted(key), value, "text", where);
  return value.get<std::string>();
}

double number_member(const Json& object, const char* key, const std::string& where) {
  const Json& value = member(object, key, where);
  if (!value.is_number()) wrong(quoted(key), value, "a number", where);
  return value.get<double>();
}

int64_t count_member(const Json& object, const char* key, const std::string& where) {
  return count_of(member(object, key, where), quoted(key), where);
}

int64_t count_of(const Json& value, const std::string& what, const std::string& where) {
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const bool fits = value.is_number_unsigned()
                        ? value.get<uint64_t>() <= kMost
                        : value.is_number_integer() && value.get<int64_t>() >= 0;
  if (!fits) wrong(what, value, "a whole number from 0 to 2^63 - 1", where);
  return value.get<int64_t>();
}

bool is_plain_name(std::string_view name) {
  constexpr std::string_view kForbidden("/\\\0", 3);
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(kForbidden) == name.npos;
}

}  // namespace smidgen
