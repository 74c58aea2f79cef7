// UTF-8 by the table of well-formed byte sequences (Unicode 15, table 3-7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace smidgen {

// The character at the front of `text`, which is not empty.
struct Utf8Step {
  enum class State {
    whole,
    broken,
    cut
  };  // cut: a good beginning that the end of the text interrupts
  State state = State::whole;
  uint8_t length = 1;  // bytes of the character, or of the maximal broken part
  uint32_t code = 0;   // the code point of a whole one
};
Utf8Step utf8_step(std::string_view text);

// Offset of the first byte that is not part of UTF-8; text.size() when all is well.
size_t utf8_valid_prefix(std::string_view text);
inline bool is_utf8(std::string_view text) {
  return utf8_valid_prefix(text) == text.size();
}

// Every maximal broken part becomes U+FFFD, as in Python's errors="replace" and Rust's
// from_utf8_lossy.
std::string utf8_lossy(std::string_view text);

void append_utf8(std::string& out, uint32_t code);
inline bool is_utf8_continuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xC0) == 0x80;
}

}  // namespace smidgen
