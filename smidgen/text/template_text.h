// Python's string operations, over UTF-8.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace smidgen::tmpl {

// As std::string::find and rfind, but in linear time whatever the texts are.
size_t find_text(std::string_view text, std::string_view part, size_t from = 0);
size_t find_last_text(std::string_view text, std::string_view part);

// Of white space, or of the characters in `set`.
std::string stripped(const std::string& text, const std::string* set, bool left, bool right);
// At runs of white space when `separator` is null. `most` cuts at most, no limit below 0.
std::vector<std::string> split_text(const std::string& text, const std::string* separator,
                                    int64_t most, bool from_right);
// With the line ends when `keep`.
std::vector<std::string> lines_of(const std::string& text, bool keep = false);
// `check` sees the growing size and may throw.
std::string replaced(const std::string& text, const std::string& from, const std::string& to,
                     int64_t most, const std::function<void(size_t)>& check);

// Case by Unicode's full mappings, as str.upper() and its kind: one character may become three.
std::string upper(const std::string& text);
std::string lower(const std::string& text);
std::string capitalized(const std::string& text);
std::string titled(const std::string& text);
std::string swapped_case(const std::string& text);

// & < > " ' as markupsafe writes them.
std::string html_escaped(const std::string& text);

// str.isalpha() and its kind; false for nothing where `empty` is false.
bool all_characters(const std::string& text, bool (*test)(uint32_t), bool empty = false);
bool is_alphabetic(uint32_t code);
bool is_decimal(uint32_t code);
bool is_digit(uint32_t code);
bool is_space(uint32_t code);  // also U+001C-1F, which are not Unicode's White_Space
bool is_upper(const std::string& text);
bool is_lower(const std::string& text);
bool is_title(const std::string& text);

}  // namespace smidgen::tmpl
