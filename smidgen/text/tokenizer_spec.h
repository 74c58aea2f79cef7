// What a tokenizer is made of, as plain data: what tokenizer.json and GGUF metadata are read into
// and written from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace smidgen {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = true;
};

struct BpeVocabulary {
  std::vector<std::string>
      tokens;  // index = id, in byte-level letters ("Ġthe"); an empty string is no token
  std::vector<std::pair<std::string, std::string>> merges;  // lowest rank first
  bool ignore_merges = false;  // a whole word of the vocabulary is taken as it is
};

enum class NormalizerKind { nfc, nfd, nfkc, nfkd };

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// One step of the pre-tokeniser; steps run in order, ByteLevel last.
struct PreTokenizerStep {
  enum class Kind { digits, byte_level, split };
  Kind kind = Kind::byte_level;
  bool individual_digits = false;                   // digits
  bool add_prefix_space = false, use_regex = true;  // byte_level
  bool trim_offsets = true;              // byte_level; changes offsets only, kept for writing
  std::string pattern;                   // split
  bool literal = false, invert = false;  // split: pattern is plain text; matches are the gaps
  SplitBehavior behavior = SplitBehavior::isolated;  // split
};

// One piece of TemplateProcessing's `single`: the text itself, or fixed ids.
struct TemplatePiece {
  bool is_text = false;
  std::string name;  // of the special token
  std::vector<int32_t> ids;
};

struct SpecialTokens {
  std::optional<std::string> bos, eos, pad, unk;
};

struct TokenizerSpec {
  BpeVocabulary bpe;
  std::vector<AddedToken> added;
  std::vector<NormalizerKind> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizer;
  bool byte_level_post = false;       // a ByteLevel post-processor: offsets only, kept for writing
  std::vector<TemplatePiece> single;  // empty: nothing is added
  SpecialTokens special;
  std::string where;  // file name for errors
};

}  // namespace smidgen
