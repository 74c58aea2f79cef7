// Log-probabilities of the answers of whole sequences: what preference losses are functions of.
#pragma once

#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/model.h"
#include "smidgen/text/packing.h"

namespace smidgen {

// Of s sequences. Numbers of whole sequences are fp64: they are few, and differences of them
// matter.
struct SequenceScores {
  at::Tensor answer;  // fp64 [s]: sum of log p over the answer tokens
  at::Tensor all;     // fp64 [s]: over every token after the first, where asked for; else undefined
  std::vector<int64_t> answer_tokens, all_tokens;  // [s]
};

// One forward pass at `slot`. `all` says of which sequences every token is scored (empty: of none).
SequenceScores score_sequences(const Model& model, const PackedBatch& packed, int slot,
                               const std::vector<bool>& all = {});

}  // namespace smidgen
