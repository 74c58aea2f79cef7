// Products of a few rows with a frozen matrix of bf16, whose time is that of reading the matrix
// once: generation. Letters: m rows of A, k the inner width, n columns of the result.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"
#include "smidgen/kernels/product.h"

namespace smidgen {

// Up to here the arithmetic hides behind the reading.
constexpr int64_t kFewRows = 8;

// A W^T block by block: A [m, k], row stride lda, m <= kFewRows, W [n, k], row stride ldw. Equal in
// every bit to multiply_packed (product.h), which serves the targets without dot products of bf16:
// a row's result does not depend on how many came with it.
void multiply_few_rows(int64_t m, int64_t k, int64_t n, const Bf16* a, int64_t lda, const Bf16* w,
                       int64_t ldw, const FinishBlock& finish);

// isa/avx512_bf16.cpp, by m - 1: 16 columns of the result, of which `columns` have rows of W.
// `next` is what will be read next. Null where the build or the machine has no such instructions.
struct RowKernels {
  void (*by_rows[kFewRows])(int64_t k, const Bf16* a, int64_t lda, const Bf16* w, int64_t ldw,
                            int64_t columns, const Bf16* next, float* c, int64_t ldc);
};
const RowKernels* avx512_bf16_row_kernels();

}  // namespace smidgen
