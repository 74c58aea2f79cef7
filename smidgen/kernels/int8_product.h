// Products of 8-bit integers with 32-bit sums: twice the rate of bf16 where the machine has the
// instruction (AVX512_VNNI). Letters: m rows of A, k the inner width, n columns.
#pragma once

#include <cstdint>
#include <vector>

#include "smidgen/kernels/product.h"

namespace smidgen {

// Rows in 8 bits, each with a scale of its own: x_i ~ scale q_i with scale = max |x| / 127, q
// rounded to nearest even. A row with a NaN or an infinity has the scale NaN.
struct Int8Rows {
  int64_t m = 0, k = 0;
  std::vector<int8_t> values;  // [m, stride()], zeros behind k
  std::vector<float> scales;   // [m]
  std::vector<int32_t> sums;   // [m], of the q

  int64_t stride() const { return (k + 3) / 4 * 4; }
};

// x [m, k] of bf16, row stride ldx. With `factors` [k], of x_i factors_i: in dX = dY W the scales
// of W's rows lie along the inner width, and go into dY before it is rounded.
Int8Rows to_int8_rows(int64_t m, int64_t k, const Bf16* x, int64_t ldx,
                      const float* factors = nullptr);

// A panel of 8-bit weights holds k rows of at most 64 columns of B in groups of four rows,
// [ceil(k / 4)][64][4], each as w + 128: the instruction multiplies unsigned by signed bytes. The
// sums then hold 128 times too many of each row's values, which the product takes off again.
using PackInt8Panel =
    std::function<void(int64_t k0, int64_t k1, int64_t column0, int64_t columns, uint8_t* panel)>;

// A B block by block in fp32, times the rows' scales and those of the columns [n], which may be
// null. Integer sums are exact: the result depends on its own row of A alone, and is the same on
// every machine. k is at most kMostInt8Terms: then no sum overflows.
constexpr int64_t kMostInt8Terms = 65'000;
void multiply_int8(const Int8Rows& a, int64_t n, const PackInt8Panel& pack,
                   const float* column_scales, const FinishBlock& finish);

// The panels of a matrix w [rows, columns], row stride ldw: of w itself and of its transpose.
PackInt8Panel int8_panels_of(const int8_t* w, int64_t ldw);
PackInt8Panel int8_panels_of_transposed(const int8_t* w, int64_t ldw);

// What a machine does best. The portable ones are the reference, and slow.
struct Int8Kernels {
  // c [m, columns], row stride ldc, = a b, or += where `add`; a [m, 4 groups], row stride lda.
  void (*multiply)(int64_t m, int64_t groups, const int8_t* a, int64_t lda, const uint8_t* panel,
                   int64_t columns, int32_t* c, int64_t ldc, bool add);
  void (*pack)(int64_t k, int64_t columns, const int8_t* b, int64_t ldb, uint8_t* panel);
  void (*pack_transposed)(int64_t k, int64_t columns, const int8_t* bt, int64_t ldb,
                          uint8_t* panel);
  // One row, into [stride()] bytes.
  void (*quantise)(int64_t k, const Bf16* x, const float* factors, int8_t* q, float* scale,
                   int32_t* sum);
  // In place: c [rows, columns] of integers becomes scale_r column_scale_j (c_rj - 128 sum_r).
  void (*finish)(int64_t rows, int64_t columns, const float* scales, const int32_t* sums,
                 const float* column_scales, int32_t* c, int64_t ldc);
};
const Int8Kernels& int8_kernels();         // of the target in use
const Int8Kernels& int8_kernels_ref();     // portable
const Int8Kernels* avx512_int8_kernels();  // isa/avx512_int8.cpp, or null

}  // namespace smidgen
