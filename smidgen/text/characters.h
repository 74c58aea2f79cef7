// Character classes that tokenizers ask for, by utf8proc's tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace smidgen {

bool is_white_space(uint32_t code);  // Unicode's White_Space
bool is_letter(uint32_t code);       // L
bool is_punctuation(uint32_t code);  // P, and all ASCII signs
bool is_control_like(uint32_t code);  // Cc, Cf, Co, and Cs
bool is_numeric(uint32_t code);      // Nd, Nl, No
bool is_word(uint32_t code);         // \w of Rust's regex: alphabetic, marks, Nd, Pc, joiners

// The class that word patterns ask for: by a table over all of Unicode.
enum class CharacterClass : uint8_t { other, letter, number, space, line_end };
CharacterClass character_class(uint32_t code);  // line_end: \r and \n; space: other White_Space

// Bytes of white space at the front and at the end; `text` is valid UTF-8.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);
uint32_t first_character(std::string_view text);  // text not empty
uint32_t last_character(std::string_view text);

}  // namespace smidgen
