// What a merge recipe says about the tokenizer of its result.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/merge/model_ref.h"
#include "smidgen/delta/transplant.h"

namespace smidgen {

struct MergedTokenizer {
  enum class Source { union_of_all, base, model };
  // Where a token's row comes from: `automatic` is the rule for tokens without an entry.
  struct Token {
    enum class From { automatic, zero, same_token, other_token };
    std::string token;
    From from = From::automatic;
    std::optional<ModelRef> model;  // of same_token and other_token
    std::string other;              // other_token: its text, or
    std::optional<int64_t> other_id;
    bool force = false;  // rows that a model has are replaced too
    std::string place;
  };

  Source source = Source::union_of_all;
  std::optional<ModelRef> model;  // of Source::model
  std::vector<Token> tokens;
  std::optional<int64_t> pad_to_multiple_of;
  // Not mergekit's, which ignores it: rows of tokens that a model lacks are made of its own rows,
  // not taken from other models. Neither with union nor with tokens.
  std::optional<TransplantOptions> transplant;
  std::string place;
};

// The keys `tokenizer_source` and `tokenizer`. `transplant` in the latter is METHOD, or {method,
// neighbours, cosine}.
MergedTokenizer read_tokenizer_source(const YamlNode& node, RecipeReading& reading);
MergedTokenizer read_tokenizer_spec(const YamlNode& node, RecipeReading& reading);

}  // namespace smidgen
