// Cross-entropy of rows of logits. Letters: n rows, v vocabulary.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// losses_r = weight_r (log sum_j exp(logits_rj) - logits_r,target), gradient_rj = weight_r
// (softmax_rj - [j = target]). logits [n, v] packed, targets [n] within [0, v), or negative for a
// row without one: its loss and gradient are 0. weights [n] may be null for ones; gradient [n, v]
// may be null, or be logits itself. A NaN or an infinite logit gives a NaN loss.
void cross_entropy_rows(int64_t n, int64_t v, const float* logits, const int64_t* targets,
                        const float* weights, float* losses, float* gradient);
void cross_entropy_rows(int64_t n, int64_t v, const Bf16* logits, const int64_t* targets,
                        const float* weights, float* losses, Bf16* gradient);
void cross_entropy_rows_ref(int64_t n, int64_t v, const float* logits, const int64_t* targets,
                            const float* weights, float* losses, float* gradient);

}  // namespace smidgen
