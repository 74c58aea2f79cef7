// Cuts text into the words that byte-pair merging may not cross.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/text/normalizer.h"
#include "smidgen/text/pattern.h"
#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

struct Piece {
  size_t begin, end;
};

class PreTokenizer {
 public:
  // Throws unsupported when ByteLevel is missing or not the last step.
  PreTokenizer(std::vector<PreTokenizerStep> steps, const std::string& where);

  // Pieces of `text` (valid UTF-8), none empty. When a prefix space is added, `rewritten` receives
  // the text that the pieces refer to, with its alignment, and true is returned.
  bool split(std::string_view text, std::vector<Piece>& pieces, std::string& rewritten,
             Alignment& alignment) const;

 private:
  void apply(const PreTokenizerStep& step, const Pattern* pattern, std::string_view text,
             Piece piece, std::vector<Piece>& out) const;
  std::vector<PreTokenizerStep> steps_;
  std::vector<std::unique_ptr<Pattern>> patterns_;  // one per step, null where none is needed
};

}  // namespace smidgen
