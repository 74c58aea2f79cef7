// The low-rank part of a linear, y += s x A^T B^T, and its gradients. Letters: n rows, r rank, k
// and d widths; strides are in elements.
//
// What is small (A, B, x A^T) is fp32; what is wide is fp32 or bf16 and is read once, as it is.
// Sums are fp32 and run over their index in order: neither the number of threads nor the rows
// beside a row change its bits.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// A matrix [r, k] by its strides, so that B^T is taken where B lies.
struct SmallMatrix {
  const float* data;
  int64_t row_stride, column_stride;
};

// u [n, r] = scale x a^T, x [n, k]. Of bf16 rows each element of `a` is taken as a sum of two bf16,
// its first 16 bits: products of two bf16 are exact in fp32.
void low_rank_down(int64_t n, int64_t k, int64_t r, float scale, const float* x, int64_t ldx,
                   SmallMatrix a, float* u, int64_t ldu);
void low_rank_down(int64_t n, int64_t k, int64_t r, float scale, const Bf16* x, int64_t ldx,
                   SmallMatrix a, float* u, int64_t ldu);

// y [n, d] += u b, u [n, r], b [r, d], on the calling thread: for a block that is in the cache.
void low_rank_up(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const float* b,
                 int64_t ldb, float* y, int64_t ldy);

// g [r, d] = u^T z, u [n, r], z [n, d]: the gradient of A (z = x) and, transposed, of B (z = dy).
void low_rank_gradient(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const float* z,
                       int64_t ldz, float* g, int64_t ldg);
void low_rank_gradient(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const Bf16* z,
                       int64_t ldz, float* g, int64_t ldg);

}  // namespace smidgen
