#include "smidgen/text/scanner.h"

#include <array>
#include <cstdint>

#include "smidgen/text/characters.h"

namespace smidgen {
namespace {

using Class = CharacterClass;

struct Step {
  Class kind;
  size_t length;
};

constexpr std::array<Class, 128> kAscii = [] {
  std::array<Class, 128> table{};
  for (size_t c = 0; c < 128; ++c) {
    table[c] = Class::other;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) table[c] = Class::letter;
    if (c >= '0' && c <= '9') table[c] = Class::number;
    if (c == ' ' || (c >= 9 && c <= 13)) table[c] = Class::space;
    if (c == '\n' || c == '\r') table[c] = Class::line_end;
  }
  return table;
}();

// The text is valid UTF-8, so that the first byte tells the length.
Step look(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  const uint32_t first = byte(at);
  if (first < 0x80) return {kAscii[first], 1};
  const auto tail = [&](size_t i) { return byte(at + i) & 0x3F; };
  if (first < 0xE0) return {character_class((first & 0x1F) << 6 | tail(1)), 2};
  if (first < 0xF0) return {character_class((first & 0xF) << 12 | tail(1) << 6 | tail(2)), 3};
  return {character_class((first & 7) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3)), 4};
}

// End of the run of `kind` that begins at `at`, of at most `most` characters.
size_t run(std::string_view text, size_t at, Class kind, size_t most = SIZE_MAX) {
  while (at < text.size() && most-- > 0) {
    const Step step = look(text, at);
    if (step.kind != kind) break;
    at += step.length;
  }
  return at;
}

size_t line_ends(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == '\n' || text[at] == '\r')) ++at;
  return at;
}

// Length of a contraction at text[at], which is an apostrophe; 0 for none.
template <bool kAnyCase>
size_t contraction(std::string_view text, size_t at) {
  const auto letter = [&](size_t i) -> char {
    if (at + i >= text.size()) return 0;
    const char c = text[at + i];
    return kAnyCase && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  switch (letter(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return letter(2) == 'e' ? 3 : 0;
    case 'l':
      return letter(2) == 'l' ? 3 : 0;
    case '\xC5':  // the long s is an s in any case
      return kAnyCase && letter(2) == '\xBF' ? 3 : 0;
    default:
      return 0;
  }
}

bool is_space(Class kind) {
  return kind == Class::space || kind == Class::line_end;
}

// `\s+(?!\S)|\s+`, with `\s*[\r\n]+` before it when kLines.
template <bool kLines>
size_t white_space(std::string_view text, size_t at) {
  size_t end = at, last = at, after_line = 0;
  while (end < text.size()) {
    const Step step = look(text, end);
    if (!is_space(step.kind)) break;
    last = end;
    end += step.length;
    if (step.kind == Class::line_end) after_line = end;
  }
  if (kLines && after_line > 0) return after_line;
  return end == text.size() || last == at ? end : last;
}

size_t gpt2(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    if (const size_t length = contraction<false>(text, at)) return at + length;
  }
  Step step = look(text, at);
  if (text[at] == ' ' && at + 1 < text.size()) {
    const Step next = look(text, at + 1);
    if (!is_space(next.kind)) {
      step = next;
      ++at;
    }
  }
  return is_space(step.kind) ? white_space<false>(text, at)
                             : run(text, at + step.length, step.kind);
}

template <size_t kDigits>
size_t llama3(std::string_view text, size_t at) {
  if (text[at] == '\'') {
    if (const size_t length = contraction<true>(text, at)) return at + length;
  }
  const Step step = look(text, at);
  const size_t next = at + step.length;
  if (step.kind == Class::letter) return run(text, next, Class::letter);
  if (step.kind == Class::number) return run(text, next, Class::number, kDigits - 1);
  const Class following = next < text.size() ? look(text, next).kind : Class::line_end;
  if (step.kind != Class::line_end && following == Class::letter)
    return run(text, next, Class::letter);
  if (step.kind == Class::other || (text[at] == ' ' && following == Class::other))
    return line_ends(text, run(text, next, Class::other));
  return white_space<true>(text, at);
}

}  // namespace

Scanner find_scanner(const std::string& expression) {
  if (expression == kGpt2Words) return gpt2;
  if (expression == kLlama3Words) return llama3<3>;
  if (expression == kQwen2Words) return llama3<1>;
  return nullptr;
}

}  // namespace smidgen
