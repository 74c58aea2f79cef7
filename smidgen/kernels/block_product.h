// Products of a few rows with a frozen matrix in a GGUF block format, as it lies in the file: for
// generation, whose time is that of reading the matrix once. Letters: m rows of A, k the inner
// width, n columns of the result.
//
// Rows of A become fixed point, 15 bits and a sign beside one scale for each 32 elements, so that
// integer dot products take the codes of W as they are. (llama.cpp, whose idea this is, keeps 8
// bits of A; the second eight cost no time here, where memory is waited for.) The inputs of bf16
// arithmetic, of 8 significant bits, lose next to nothing, and W, which the product of many rows
// (product.h) rounds to bf16, is exact: a result differs from that product's by the latter's
// rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "smidgen/io/tensor_view.h"
#include "smidgen/kernels/bf16.h"
#include "smidgen/kernels/product.h"

namespace smidgen {

constexpr int64_t kFixedBlock = 32, kFixedHalf = 16;

// x ~ scale (256 high + low), one scale for each 32 elements of a row: |x - that| <= scale / 2,
// scale = max |x| / 32512. Blocks below 1e-30 are zero. A block that is not finite has the scale
// NaN, so that whatever meets it is NaN.
struct FixedRows {
  int64_t rows = 0, k = 0;        // k a multiple of 32
  std::vector<int8_t> high, low;  // [rows, k]
  std::vector<float> scales;      // [rows, k / 32]
  std::vector<int32_t> sums;      // [rows, k / 16]: of 256 high + low over 16 elements

  int64_t blocks() const { return k / kFixedBlock; }
};

// x [m, k], row stride ldx. Equal bits on every target.
FixedRows to_fixed(int64_t m, int64_t k, const float* x, int64_t ldx);
FixedRows to_fixed(int64_t m, int64_t k, const Bf16* x, int64_t ldx);
FixedRows to_fixed_ref(int64_t m, int64_t k, const float* x, int64_t ldx);

// Whether the target in use has a kernel for the format: q4_0, q4_1, q8_0, q4_k and q6_k under vnni
// and bf16.
bool has_block_product(Format format);

// The rows of W [n, k], each in a block format of its own, at any place: those of a mapped file.
struct BlockRows {
  std::span<const std::byte* const> rows;
  std::span<const Format> formats;
};

// A W^T block by block; every format must have a kernel. Each result is a fp32 sum over the blocks
// of k in order, of its own row of A and row of W alone: neither m nor the number of threads
// changes its bits.
void multiply_blocks(const FixedRows& a, const BlockRows& w, const FinishBlock& finish);

// c [m, n], row stride ldc. Plain loops over the same sums: equal bits.
void multiply_blocks_ref(const FixedRows& a, const BlockRows& w, float* c, int64_t ldc);

// isa/avx512_vnni.cpp: null where the build or the machine has no such instructions.
struct BlockKernels {
  void (*to_fixed_floats)(FixedRows& to, int64_t row, const float* x);
  void (*to_fixed_halves)(FixedRows& to, int64_t row, const Bf16* x);
  // 16 rows of W, `stride` bytes apart. `later` is what will be read a while later: as many bytes
  // of it are fetched. Null for a format without a kernel.
  using Multiply = void (*)(const FixedRows& a, const std::byte* w, int64_t stride,
                            const std::byte* later, float* c, int64_t ldc);
  Multiply (*find)(Format format);
};
const BlockKernels* avx512_vnni_block_kernels();

}  // namespace smidgen
