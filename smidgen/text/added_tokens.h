// Tokens that are found in the text before anything else cuts it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

// A stretch of text: one added token, or text between them.
struct TokenSegment {
  size_t begin, end;
  int32_t id;  // -1: plain text
};

// Leftmost-longest search for a set of tokens.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token, const std::string& content);
  bool empty() const { return tokens_.empty(); }

  // `with_special` false: special tokens are passed over as ordinary text.
  void split(std::string_view text, bool with_special, std::vector<TokenSegment>& out) const;

 private:
  // Index of the longest token that begins at text[at], with its length in `length`; -1 for none.
  int32_t longest(std::string_view text, size_t at, size_t& length) const;
  std::vector<AddedToken> tokens_;
  std::array<bool, 256> first_{};
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
  std::vector<int32_t> token_at_ = {-1};          // per node
};

}  // namespace smidgen
