// The innermost product of everything that multiplies in bf16: linears, attention, the low-rank
// part. Letters: m rows of A, k the inner width, `columns` at most 64 of B.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// A panel holds k rows of at most 64 columns of B. Of bf16 they lie as pairs of rows, [ceil(k / 2)]
// [64][2], so that one 32-bit lane carries what a dot-product instruction takes; an odd last row is
// paired with zeros. Of float they lie as they are, [k][64]. Columns from `columns` to the next
// multiple of 16 are zero, those beyond are neither written nor read.
constexpr int64_t kPanelColumns = 64;
constexpr int64_t panel_elements(int64_t k) {
  return (k + 1) / 2 * 2 * kPanelColumns;
}

// Sums run over k in order, a pair at a time, in fp32, whatever m, columns and the place of a row
// in its tile are: a row's result does not depend on the rows beside it. The bf16 instructions
// (AVX512_BF16) flush subnormal inputs and sums to zero; the portable kernel keeps them.
template <class T>
struct TileKernelsOf {
  // c [m, columns], row stride ldc, = a b, or += where `add`. a [m, k], row stride lda.
  void (*multiply)(int64_t m, int64_t k, const T* a, int64_t lda, const T* panel, int64_t columns,
                   float* c, int64_t ldc, bool add);
  // The same with a^T given as a panel of k rows and m <= 64 columns.
  void (*multiply_panels)(int64_t m, int64_t k, const T* a_panel, const T* panel, int64_t columns,
                          float* c, int64_t ldc, bool add);
  // The panel of b [k, columns], row stride ldb.
  void (*pack)(int64_t k, int64_t columns, const T* b, int64_t ldb, T* panel);
  // The panel of b^T given as bt [columns, k], row stride ldb.
  void (*pack_transposed)(int64_t k, int64_t columns, const T* bt, int64_t ldb, T* panel);
};
using TileKernels = TileKernelsOf<Bf16>;

// Those of the target in use (target.h).
const TileKernels& tile_kernels();
const TileKernelsOf<float>& float_tile_kernels();

// isa/avx512_bf16.cpp: null where the build or the machine has no such instructions.
const TileKernels* avx512_bf16_tile_kernels();

}  // namespace smidgen
