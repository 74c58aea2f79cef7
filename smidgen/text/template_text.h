// Python's string operations, over UTF-8.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace smidgen::tmpl {

// Of white space, or of the characters in `set`.
std::string stripped(const std::string& text, const std::string* set, bool left, bool right);
// At runs of white space when `separator` is null. `most` cuts at most, no limit below 0.
std::vector<std::string> split_text(const std::string& text, const std::string* separator,
                                    int64_t most, bool from_right);
std::vector<std::string> lines_of(const std::string& text);
// `check` sees the growing size and may throw.
std::string replaced(const std::string& text, const std::string& from, const std::string& to,
                     int64_t most, const std::function<void(size_t)>& check);
std::string upper(const std::string& text);
std::string lower(const std::string& text);
std::string capitalized(const std::string& text);
std::string titled(const std::string& text);

}  // namespace smidgen::tmpl
