// A tokenizer as data while tokens leave it and come to it.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

// Leaves out the tokens whose ids are not below `rows`, and merges that need or make them.
void cut_vocabulary(TokenizerSpec& spec, int64_t rows);

class GrowingVocabulary {
 public:
  explicit GrowingVocabulary(TokenizerSpec spec);

  bool has(const std::string& token) const { return ids_.count(token) != 0; }
  int64_t size() const { return next_; }  // highest id + 1
  bool grown() const { return grown_; }

  // At the end, whatever id it had. One that is there already keeps its id, and is an added token
  // from now on. Throws usage beyond kMaxTokenId.
  void add(AddedToken token);
  // As tokenizers' add_tokens does with a plain string.
  void add_plain(const std::string& token);

  // Special tokens that have lost their token are dropped, with a note.
  TokenizerSpec finish(std::vector<std::string>& notes) &&;

 private:
  void put(const std::string& token, int32_t id);

  TokenizerSpec spec_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_set<std::string> added_;
  int64_t next_ = 0;
  bool grown_ = false;
};

}  // namespace smidgen
