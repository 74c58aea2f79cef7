// Several samples as one row of tokens. Attention is block-diagonal over `starts` (the model builds
// it), positions begin anew in every sequence, and no sequence predicts the first token of the
// next: the loss equals that of the samples one by one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "smidgen/text/dataset.h"

namespace smidgen {

inline constexpr int32_t kIgnoreTarget = -100;

struct PackedBatch {
  std::vector<int32_t> ids;        // [tokens]
  std::vector<int32_t> positions;  // [tokens], from 0 in each sequence
  std::vector<int32_t> starts;     // [sequences + 1] offsets into the rows; the last is `tokens`
  std::vector<int32_t> targets;    // [tokens] the next token, or kIgnoreTarget where it is not an
                                   // answer or is the last
  std::vector<int64_t> sample_index;  // [sequences]
  int64_t answer_tokens = 0;          // targets that are trained
};

// Samples in the given order. An index outside the data set: Error usage; more than 2^31 - 1
// tokens: Error data.
PackedBatch pack(const Dataset& data, std::span<const int64_t> indices);
PackedBatch pack(std::span<const Sample> samples);

}  // namespace smidgen
