// What attention does to a tile of scores between its products: the running softmax of the forward
// pass and the gradient of the scores in the backward pass.
#pragma once

#include <cstdint>

#include "smidgen/kernels/attention_mask.h"
#include "smidgen/kernels/bf16.h"

namespace smidgen {

// A tile is `rows` queries by `columns` <= 64 keys, the first of which is key0; its rows are
// kPanelColumns (64) apart. Row r sees the keys of seen[r].
struct ScoreTile {
  int64_t rows, columns, key0;
  const KeyRange* seen;
};

// From a product s of query and key to a score: z = scale s, or z = softcap tanh(scale s / softcap)
// where softcap is not zero.
struct ScoreRule {
  float scale, softcap;
};

// Of each row: the largest score so far, in units of log2(e) (-infinity before the first), and
// kSumLanes partial sums of 2^(score - largest).
constexpr int64_t kSumLanes = 64;

// s becomes scratch; p gets 2^(score - largest), zero where a row does not see. Where the largest
// score grew, the row's sums and its row of o [rows, width] shrink to the new unit.
template <class T>
void softmax_tile(const ScoreTile& tile, const ScoreRule& rule, float* s, T* p, float* largest,
                  float* sums, int64_t width, float* o);

// o / sum, and the natural logarithm of the sum of exponentials.
void softmax_finish(int64_t rows, const float* largest, const float* sums, int64_t width, float* o,
                    float* log_sums);

// With P = exp(z - log_sum) and dS = P (dp - delta) dz / (scale ds): P and dS as panels over the
// rows (tile_product.h), and dS once more row by row, which is the same memory for float.
template <class T>
void gradient_tile(const ScoreTile& tile, const ScoreRule& rule, const float* log_sums,
                   const float* delta, const float* s, const float* dp, T* p_panel, T* ds_panel,
                   T* ds);

// `to` = factor * `from`, rounded.
void scaled(int64_t n, float factor, const float* from, Bf16* to);
void scaled(int64_t n, float factor, const float* from, float* to);

// sum_i a_i b_i in fp32.
float dot(int64_t n, const Bf16* a, const Bf16* b);
float dot(int64_t n, const float* a, const float* b);

}  // namespace smidgen
