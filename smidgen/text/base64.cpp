#include "smidgen/text/base64.h"

#include <array>
#include <cstdint>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr std::string_view kLetters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kLetters[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string from_base64(std::string_view text, const std::string& where) {
  const auto fail = [&](size_t at) {
    throw Error(ErrorKind::format, str("not base64 at character ", at), where);
  };
  if (text.size() % 4 != 0) fail(text.size());
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    size_t letters = 0;
    for (size_t k = 0; k < 4; ++k) {
      const size_t value = kLetters.find(text[i + k]);
      const bool padding = text[i + k] == '=' && i + 4 == text.size() && k >= 2;
      if (value == std::string_view::npos && !padding) fail(i + k);
      if (value != std::string_view::npos && letters < k) fail(i + k);  // a letter after '='
      group = group << 6 | (padding ? 0u : static_cast<uint32_t>(value));
      letters += !padding;
    }
    for (size_t k = 0; k + 1 < letters; ++k) out += static_cast<char>(group >> (16 - 8 * k));
  }
  return out;
}

}  // namespace smidgen
