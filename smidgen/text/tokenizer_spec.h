// What a tokenizer is made of, as plain data: what tokenizer.json, GGUF metadata and the older
// files are read into, and what is written from. The model's vocabulary is in tables; the small
// parts are in tokenizer.json's own form, so that they are written as they were read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = true;
};

struct TokenModelSpec {
  enum class Kind { bpe, word_piece, unigram, word_level };
  Kind kind = Kind::bpe;
  std::vector<std::string> tokens;  // index = id; an empty string is no token

  // bpe
  std::vector<std::pair<std::string, std::string>> merges;  // lowest rank first
  bool ignore_merges = false;  // a whole word of the vocabulary is taken as it is
  bool fuse_unknown = false;   // neighbouring unknown characters make one unknown token
  std::string word_suffix;     // end_of_word_suffix
  // bpe, word_piece: what a piece that does not begin a word is marked with
  std::string subword_prefix;
  // bpe, unigram: an unknown character becomes its bytes, <0x00> to <0xFF>
  bool byte_fallback = false;
  // unigram: logarithms of probabilities. bpe: SentencePiece's scores in place of merges, the
  // highest first. NaN: a token that text never makes. Else empty.
  std::vector<double> scores;
  bool single_sums = false;            // unigram: sums are rounded to float, as in SentencePiece
  std::optional<std::string> unknown;  // bpe, word_piece, word_level, unigram
  int64_t max_word_characters = 100;   // word_piece
};

struct SpecialTokens {
  std::optional<std::string> bos, eos, pad, unk;
};

struct TokenizerSpec {
  TokenModelSpec model;
  std::vector<AddedToken> added;
  Json normalizer, pre_tokenizer, post_processor, decoder;  // null: none
  SpecialTokens special;
  std::string where;  // file name for errors
};

}  // namespace smidgen
