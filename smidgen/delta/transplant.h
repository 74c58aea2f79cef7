// A model with another model's tokenizer: the rows of tokens that it has stay, those of new tokens
// are made from them. After mergekit's tokensurgeon 0.1.5 (behaviour only).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/delta/source.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

struct TransplantOptions {
  enum class Method {
    zero,
    mean,     // of the model's rows that are kept
    subword,  // mean of the rows of the pieces that the model's tokenizer cuts the token's text
              // into
    // Of the tokens that both have, the `neighbours` whose rows in the donor are nearest to the new
    // token's row in the donor; the model's rows of those, weighted.
    nearest,
    // Of those tokens up to `neighbours` whose rows in the donor add up to the new token's, by
    // orthogonal matching pursuit (arxiv.org/abs/2506.06607; tokensurgeon's default); the same sum
    // of the model's rows.
    pursuit,
  };
  Method method = Method::nearest;
  int64_t neighbours = 64;
  // nearest. Else euclidean: weights 1 / max(distance, 1e-6), divided by their sum. With cosine:
  // weights are the cosines, divided by their sum (at least 1e-6).
  bool cosine = false;
  int64_t rows = 0;  // at least so many; those behind the donor's ids are the mean
  bool dry = false;  // check and count only: new rows stay zeros
  std::function<void(int64_t done, int64_t total)> progress;  // rows of all tensors
};

struct Transplant {
  std::shared_ptr<const Source> model;  // its vocabulary tensors have the donor's rows
  int64_t rows = 0;                     // config.json's vocab_size
  int64_t kept = 0, made = 0;           // tokens: the model's own, and new ones
  std::vector<std::string> notes;
};

// The donor gives the tokenizer, and for `nearest` and `pursuit` its vocabulary tensors, which may
// have another width. Rows of donor tokens that match a token of the model (text/token_match.h) are
// copied; ids that are no token are the mean, as in with_merged_rows. Embedding and head are done
// each by its own; a head's bias has zeros for new tokens. A new token that has no row in the
// donor, or whose bytes are no text where subwords are asked for, is the mean. Distances are found
// by products in fp32 and computed anew in double for the chosen; memory is some blocks of rows,
// whatever the vocabulary; `nearest` needs new tokens x shared tokens x width multiplications,
// `pursuit` `neighbours` times as many. Differs from tokensurgeon: the tokens of both are matched
// by bytes; fewer shared tokens than neighbours is no error; rows that the donor lacks are not
// zeros. Throws mismatch where model or donor has no vocabulary tensor that is needed, or no token
// is shared; usage for neighbours below one.
Transplant transplant_tokenizer(std::shared_ptr<const Source> model,
                                const Tokenizer& model_tokenizer,
                                std::shared_ptr<const Source> donor,
                                const Tokenizer& donor_tokenizer, const TransplantOptions& options);

}  // namespace smidgen
