// Hand-written matchers for the few word patterns that nearly all byte-level vocabularies use;
// Pattern is their oracle (scanner_test.cpp).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace smidgen {

// GPT-2's words: contractions, then letters, numbers or signs with at most one space before them,
// then white space, of which the last character is left to the word that follows.
inline constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Llama 3's and (with one digit in place of up to three) Qwen2's.
inline constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Where the match that begins at text[at] ends; text[at] exists, and some alternative always
// matches.
using Scanner = size_t (*)(std::string_view text, size_t at);

// The matcher of this very expression; null when there is none.
Scanner find_scanner(const std::string& expression);

}  // namespace smidgen
