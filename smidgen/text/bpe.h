// Byte-pair merging over raw bytes (Sennrich et al. 2016, arXiv:1508.07909; byte alphabet: GPT-2).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

class Bpe {
 public:
  // `bytes[id]` is what a token stands for. Throws format when a merge names a token that does not
  // exist.
  Bpe(const BpeVocabulary& vocabulary, const std::vector<std::string>& bytes,
      const std::string& where);

  // Appends the ids of one word and, when `lengths` is given, the bytes of each. Bytes that the
  // vocabulary lacks are left out (their length counts for the token after, or for none).
  void encode(std::string_view word, std::vector<int32_t>& ids,
              std::vector<uint32_t>* lengths) const;
  // The oracle of the tests: merges the lowest rank first, leftmost on ties, until no pair is left.
  // Quadratic in the word; ignores ignore_merges.
  std::vector<int32_t> encode_reference(std::string_view word) const;

  bool has_byte(uint8_t byte) const { return byte_id_[byte] >= 0; }
  // The token that stands for exactly these bytes, or -1.
  int32_t find(std::string_view bytes) const;

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
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;
  void put_words(const std::vector<std::string>& bytes);

  std::array<int32_t, 256> byte_id_{};
  std::vector<Merge> merges_;  // open addressing, size a power of two
  uint64_t merge_mask_ = 0;
  std::vector<int32_t> words_;  // open addressing over the bytes of tokens
  uint64_t word_mask_ = 0;
  std::vector<std::string> bytes_;
  std::vector<uint8_t> whole_;  // encoding the token's bytes gives just this token
};

}  // namespace smidgen
