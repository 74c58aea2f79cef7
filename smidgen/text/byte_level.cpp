#include "smidgen/text/byte_level.h"

#include <array>

#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

struct Alphabet {
  std::array<uint32_t, 256> letter{};
  std::array<int16_t, 0x180> byte{};

  Alphabet() {
    byte.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      letter[b] = printable ? b : next++;
      byte[letter[b]] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

}  // namespace

std::string to_byte_letters(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, alphabet().letter[static_cast<uint8_t>(c)]);
  return out;
}

std::optional<std::string> from_byte_letters(std::string_view letters) {
  std::string out;
  while (!letters.empty()) {
    const Utf8Step step = utf8_step(letters);
    if (step.state != Utf8Step::State::whole || step.code >= alphabet().byte.size()) return {};
    const int16_t byte = alphabet().byte[step.code];
    if (byte < 0) return {};
    out += static_cast<char>(byte);
    letters.remove_prefix(step.length);
  }
  return out;
}

void write_byte_letters(AlignedText& text) {
  const std::string_view old = text.text();
  Rewrite rewrite(text);
  for (size_t at = 0; at < old.size(); ++at) rewrite.replace(1, to_byte_letters(old.substr(at, 1)));
  rewrite.finish();
}

}  // namespace smidgen
