// Byte-pair merging (Sennrich et al. 2016, arXiv:1508.07909; byte alphabet: GPT-2; by scores:
// SentencePiece 0.2, bpe_model.cc).
//
// A word starts as its characters (with raw bytes: its bytes), the last with the word suffix, all
// but the first with the subword prefix. A character that the vocabulary lacks becomes its bytes
// (byte_fallback), else the unknown token, else nothing. Then the pair of lowest rank is merged,
// leftmost on ties, until no pair is left: by a scan for short words, by a heap for long ones.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/text/token_model.h"

namespace smidgen {

class Bpe final : public TokenModel {
 public:
  // Throws format when a merge names a token that does not exist. An unknown token that does not
  // exist matters only, as data, when a character needs it.
  Bpe(const TokenModelSpec& spec, bool raw_bytes, const std::string& where);

  // Characters that are left out count for the token after, or for none.
  void encode(std::string_view word, std::vector<int32_t>& ids,
              std::vector<uint32_t>* lengths) const override;
  // The oracle of the tests: the definition, quadratic in the word; ignores ignore_merges.
  std::vector<int32_t> encode_reference(std::string_view word) const;

 private:
  struct Merge {
    uint64_t pair = ~uint64_t{0};
    uint32_t rank = 0;
    int32_t id = -1;
  };
  struct Symbol {
    int32_t id;
    uint32_t length;
    int32_t previous, next;
  };
  const Merge* merge(int32_t left, int32_t right) const;
  void put_merge(int32_t left, int32_t right, uint32_t rank, int32_t made);
  void read_merges(const TokenModelSpec& spec, const std::string& where);
  void read_scores(const TokenModelSpec& spec);
  void put_words(const TokenModelSpec& spec);
  // Both answer the character that is unknown where no token says so; empty: all went well.
  std::string_view start(std::string_view word, std::vector<Symbol>& symbols) const;
  std::string_view merge_word(std::string_view word, std::vector<int32_t>& ids,
                              std::vector<uint32_t>* lengths) const;
  int32_t start_id(std::string_view character, bool first, bool last) const;
  void finish(const std::vector<Symbol>& symbols, std::string_view word, std::vector<int32_t>& ids,
              std::vector<uint32_t>* lengths) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;

  TokenTable tokens_;
  bool raw_bytes_, fuse_;
  std::string prefix_, suffix_;
  std::array<int32_t, 256> start_{};  // of one byte: raw, or ASCII; -1: none
  std::array<int32_t, 256> fallback_{};
  bool falls_back_ = false;
  int32_t unknown_ = -1;
  std::string unknown_name_, where_;
  TokenTable characters_;  // of scores: no pieces themselves; ids from tokens_.strings().size() up
  std::vector<Merge> merges_;  // open addressing, size a power of two
  uint64_t merge_mask_ = 0;
  TokenTable words_;            // what a whole word must be to be this one token
  std::vector<uint8_t> whole_;  // encoding that word gives just this token
};

}  // namespace smidgen
