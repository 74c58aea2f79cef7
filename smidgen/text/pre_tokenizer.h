// What tokenizer.json calls pre_tokenizer: cuts the text into words, which the model then sees one
// by one. Source: tokenizers 0.23 (src/pre_tokenizers).
#pragma once

#include <memory>
#include <vector>

#include "smidgen/text/aligned_text.h"
#include "smidgen/text/json_node.h"

namespace smidgen {

struct Piece {
  size_t begin, end;
};

// One step. `pieces` are stretches of the text, in order, none empty.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void apply(AlignedText& text, std::vector<Piece>& pieces) const = 0;
  // Whether it asks where in the caller's text a piece began.
  virtual bool needs_origins() const { return false; }
};

class PreTokenizer {
 public:
  PreTokenizer() = default;  // the whole text is one word
  // Understood: Sequence ByteLevel Whitespace WhitespaceSplit BertPreTokenizer Metaspace
  // Punctuation Digits Split CharDelimiterSplit FixedLength. `raw_bytes`: a ByteLevel that is the
  // last step leaves the bytes as they are, for a model that looks them up itself. Throws
  // unsupported for another type, format for a broken one.
  PreTokenizer(const JsonNode& node, bool raw_bytes);

  void split(AlignedText& text, std::vector<Piece>& pieces) const;
  bool needs_origins() const;

 private:
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
};

// Whether the last step of this pre-tokeniser is ByteLevel.
bool ends_in_byte_level(const Json& pre_tokenizer);

// The kinds, for the table in pre_tokenizer.cpp. Each step also sees whether it is the last one and
// bytes are to stay raw.
std::unique_ptr<PreTokenizerStep> make_byte_level(const JsonNode& node, bool raw_bytes);
std::unique_ptr<PreTokenizerStep> make_metaspace(const JsonNode& node, bool raw_bytes);
std::unique_ptr<PreTokenizerStep> make_split(const JsonNode& node, bool raw_bytes);
std::unique_ptr<PreTokenizerStep> make_class_split(const JsonNode& node, bool raw_bytes);
std::unique_ptr<PreTokenizerStep> make_whitespace(const JsonNode& node, bool raw_bytes);
std::unique_ptr<PreTokenizerStep> make_fixed_length(const JsonNode& node, bool raw_bytes);

// What becomes of the matches of a pattern and of the gaps between them.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
SplitBehavior read_behavior(const JsonNode& node, const std::string& absent);

// Collects the matches in one piece, then writes the pieces that a behaviour makes of them.
class Parts {
 public:
  void start(Piece piece) {
    parts_.clear();
    piece_ = piece;
    done_ = piece.begin;
  }
  void match(size_t begin, size_t end);
  void write(SplitBehavior behavior, bool invert, std::vector<Piece>& out);

 private:
  struct Part {
    Piece piece;
    bool match;
  };
  std::vector<Part> parts_;
  Piece piece_{};
  size_t done_ = 0;
};

// Replaces every piece by what `cut(piece, out)` appends for it.
template <class Cut>
void recut(std::vector<Piece>& pieces, Cut cut) {
  thread_local std::vector<Piece> before;
  before.swap(pieces);
  pieces.clear();
  for (const Piece& piece : before) cut(piece, pieces);
}

}  // namespace smidgen
