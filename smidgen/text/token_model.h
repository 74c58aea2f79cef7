// From one word to token ids. Source: tokenizers 0.23 (src/models).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/text/token_table.h"
#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

// Immutable; encode may be called from many threads at once.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of one word (valid UTF-8, not empty) and, when `lengths` is given, the bytes
  // that each covers. Throws data when a character is unknown and there is no token for that.
  virtual void encode(std::string_view word, std::vector<int32_t>& ids,
                      std::vector<uint32_t>* lengths) const = 0;
};

// `raw_bytes`: words come as bytes, the vocabulary is written in byte letters (bpe only). Throws
// format with `where`.
std::unique_ptr<TokenModel> make_token_model(const TokenModelSpec& spec, bool raw_bytes,
                                             const std::string& where);
std::unique_ptr<TokenModel> make_bpe(const TokenModelSpec& spec, bool raw_bytes,
                                     const std::string& where);
std::unique_ptr<TokenModel> make_word_piece(const TokenModelSpec& spec, const std::string& where);
std::unique_ptr<TokenModel> make_unigram(const TokenModelSpec& spec, const std::string& where);
std::unique_ptr<TokenModel> make_word_level(const TokenModelSpec& spec, const std::string& where);

// "<0x0A>": the token of a byte where byte_fallback is on.
std::string byte_token(uint8_t byte);
// Its byte, or -1. Reads lower case too, as tokenizers' decoder does.
int byte_of_token(std::string_view token);
std::array<int32_t, 256> byte_tokens(const TokenTable& table);

// What SentencePiece's scores amount to: every pair of pieces that makes a piece, the highest score
// first, with its rank; equal scores have equal ranks. `Piece` is an id, or -1 - i for the i-th
// character that pieces are made of but that is no piece itself.
struct ScoredMerges {
  struct Merge {
    int32_t left, right, made;
    uint32_t rank;
  };
  std::vector<Merge> merges;
  std::vector<std::string> characters;
};
ScoredMerges merges_of_scores(const TokenModelSpec& spec, const TokenTable& table);

}  // namespace smidgen
