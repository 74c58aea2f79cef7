// Whether two models compute the same, and a model that was written what the one in memory does.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/io/model_files.h"
#include "smidgen/nn/model.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

// Logits z (before) and z' (after), fp32, over all positions of a text.
struct Verification {
  int64_t positions = 0;
  double max_abs = 0;   // max |z - z'|
  double relative = 0;  // max |z - z'| / max |z|
  double mean_kl = 0;   // mean over positions of KL(softmax z, softmax z'), in nats
  double same_top = 0;  // share of positions whose largest logit is the same token
  int64_t not_finite_before = 0, not_finite_after = 0;  // logits; the figures are then NaN
  bool lossless = false;
  Json to_json() const;
};

// What a lossless copy may differ by, relative: fp32 products in another order of rows.
inline constexpr double kLosslessBound = 1e-5;

// `slot`: what the rows of each model see. Throws mismatch where the vocabularies are not equally
// large.
Verification compare(const Model& before, const Model& after, std::span<const int32_t> ids,
                     int slot_before = 0, int slot_after = 0);

// The fixed text, and its ids; a run of ids where the model has no tokenizer.
extern const char* const kVerificationText;
std::vector<int32_t> verification_ids(const Model& model, const Tokenizer* tokenizer);

// Opens `out`, which holds the model, and compares it with `model` on a fixed text, in fp32
// arithmetic. Neither needs to fit into memory: `out` is read as `stored`. Throws mismatch where
// the written tokenizer gives other ids. `lossless` says that every value was written as it is.
Verification verify(const Model& model, const ModelFiles& files, const fs::path& out,
                    bool lossless);

// Throws mismatch where a lossless copy differs by more than kLosslessBound.
void require_equal(const Verification& verification, const fs::path& out);

}  // namespace smidgen
