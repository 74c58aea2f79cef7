// Products with a frozen matrix that is unpacked while it is multiplied. Letters: m rows of A, k
// the inner width, n columns.
#pragma once

#include <cstdint>
#include <functional>

#include "smidgen/kernels/tile_product.h"

namespace smidgen {

// Writes the panel (tile_product.h) of rows [k0, k1) and columns [column0, column0 + columns) of B.
// Called from several threads at once.
using PackPanel =
    std::function<void(int64_t k0, int64_t k1, int64_t column0, int64_t columns, Bf16* panel)>;

// Rows [row0, row0 + rows) and columns [column0, column0 + columns) of the result, fp32, hot in the
// cache: what becomes of them is the caller's (bias, low-rank part, rounding, sum). They may be
// changed in place. Blocks are disjoint and come from several threads at once.
struct ResultBlock {
  int64_t row0, rows, column0, columns;
  float* values;
  int64_t stride;
};
using FinishBlock = std::function<void(const ResultBlock&)>;

// A B block by block, A [m, k] of bf16 with row stride lda, B [k, n]. Each B element is packed once
// for every 1024 rows, so a format that takes longer to unpack than bf16 costs little in training;
// nothing of B is kept. A result depends on its own row of A alone: neither m nor the number of
// threads changes its bits.
void multiply_packed(int64_t m, int64_t k, int64_t n, const Bf16* a, int64_t lda,
                     const PackPanel& pack, const FinishBlock& finish);

// The panels of a matrix w [rows, columns] of bf16, row stride ldw: of w itself and of its
// transpose.
PackPanel panels_of(const Bf16* w, int64_t ldw);
PackPanel panels_of_transposed(const Bf16* w, int64_t ldw);

}  // namespace smidgen
