// One tokenizer for a merged model out of the tokenizers of several, and where each model keeps the
// rows of its tokens. Tokens are the same where their spelling is. After mergekit 0.1.5
// (tokenizer/build.py, embed.py: behaviour only); what differs is said below.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/text/tokenizer.h"

namespace smidgen {

struct TokenizerInput {
  std::string label;  // of the model, for messages
  // Null: the model has none, and is taken to have the base's.
  std::shared_ptr<const Tokenizer> tokenizer;
  // Of its embedding. A token whose id is not below has no row, so the model counts as not having
  // it. 0: not known, every token has one.
  int64_t rows = 0;
  // None of its rows are merged: it only has the tokenizer that the setting asks for.
  bool outside = false;
};

// What fills the row of a token in the models that do not have it; with `force` in all models.
struct TokenFill {
  enum class Kind {
    automatic,  // the only owner's row, else the base's, else the mean of the owners'; else zeros
    zeros,
    same_token,   // the row that `model` has for it
    other_token,  // the row that `model` has for `token`, or its row `id`
  };
  Kind kind = Kind::automatic;
  size_t model = 0;  // among the inputs
  std::string token;
  int64_t id = -1;
  bool force = false;
};

struct TokenizerSetting {
  enum class From { everyone, base, model };
  From from = From::everyone;
  size_t model = 0;  // among the inputs
  // Tokens that the output does not have yet are added to it, in this order.
  std::vector<std::pair<std::string, TokenFill>> tokens;
  int64_t pad_to_multiple_of = 0;  // 0: no padding
};

struct MergedVocabulary {
  // A row that does not follow the automatic rule.
  struct Row {
    int32_t id = 0;  // of the output
    TokenFill::Kind kind = TokenFill::Kind::zeros;
    size_t model = 0;
    int32_t old_id = -1;
    bool force = false;
  };

  std::shared_ptr<const Tokenizer> tokenizer;
  size_t donor = 0;        // the input whose merges, normaliser, special tokens ... these are
  bool unchanged = false;  // it is the donor's to the token: its files may be copied
  int64_t ids = 0;         // highest id + 1
  int64_t rows = 0;        // after padding: config.json's vocab_size
  // [input][id]: the model's own id of that token, or -1. An id that no token has is -1 everywhere.
  std::vector<std::vector<int32_t>> old_ids;
  std::vector<Row> configured;     // ascending by id
  std::vector<std::string> notes;  // what a user should know, one line each
};

// Ids. `base`: the base's tokens keep their ids; those without a row are left out. `everyone`
// (union): then the ordinary tokens of the other inputs in their order, each by ascending id, then
// the added tokens of all of them. `model`: that model's tokenizer, whole. Last come the setting's
// tokens. Merges stay the donor's: what others bring becomes added tokens, which are found in the
// text before it is cut into words, as in mergekit.
// Differs from mergekit: ids of new tokens do not depend on the order of a hash table; a token
// without a row is absent (there: a failure later, and only BPE could leave them out); added tokens
// of other models keep `special` (there: lost), and special tokens whose token is gone are dropped.
// Throws not_found where the donor has no tokenizer, usage for settings that cannot be, format for
// what no tokenizer can be made of.
MergedVocabulary merge_tokenizers(const std::vector<TokenizerInput>& inputs, size_t base,
                                  const TokenizerSetting& setting);

}  // namespace smidgen
