// GPT-2's alphabet: one printable letter for every byte, so that any bytes can stand in a
// vocabulary file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "smidgen/text/aligned_text.h"

namespace smidgen {

// Letters of the bytes: "Ġ" for a space.
std::string to_byte_letters(std::string_view bytes);
// The way back; none when a character is not a letter of the alphabet.
std::optional<std::string> from_byte_letters(std::string_view letters);
// Every byte of the text becomes its letter.
void write_byte_letters(AlignedText& text);

}  // namespace smidgen
