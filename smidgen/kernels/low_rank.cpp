#include "smidgen/kernels/low_rank.h"

#include <algorithm>
#include <vector>

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
// As in tile_product.cpp: arrays of vectors cannot be SVE's, so NEON serves those machines.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/low_rank.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// Sums of Rows rows by Vectors vectors, over `count` terms: sums[r][v] += scalar(i, r) vector(i,
// v).
template <int Rows, int Vectors, class Scalar, class Vector>
HWY_INLINE void outer_sums(V (&sums)[Rows][Vectors], int64_t count, Scalar&& scalar,
                           Vector&& vector) {
  const D d;
  for (int64_t i = 0; i < count; ++i) {
    V right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = vector(i, v);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const V left = hn::Set(d, scalar(i, r));
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[r][v] = hn::MulAdd(left, right[v], sums[r][v]);
    }
  }
}

// out [rows, width] (+)= sum over i of left[i, row] right[i, column], in tiles of Rows x Vectors.
// Row and column of `left` by strides; right [count, width] of T, row stride ldr.
template <int Rows, int Vectors, class T>
HWY_INLINE void tile_of(int64_t count, const float* left, int64_t left_i, int64_t left_row,
                        const T* right, int64_t ldr, float* out, int64_t ldo, bool add) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V sums[Rows][Vectors];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      sums[r][v] = add ? load(d, out + r * ldo + v * lanes) : hn::Zero(d);
  }
  outer_sums<Rows, Vectors>(
      sums, count, [&](int64_t i, int r) HWY_ATTR { return left[i * left_i + r * left_row]; },
      [&](int64_t i, int v) HWY_ATTR { return load(d, right + i * ldr + v * lanes); });
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store(d, sums[r][v], out + r * ldo + v * lanes);
  }
}

// The last columns, fewer than a vector.
template <class T>
HWY_INLINE void edge_of(int64_t rows, int64_t width, int64_t count, const float* left,
                        int64_t left_i, int64_t left_row, const T* right, int64_t ldr, float* out,
                        int64_t ldo, bool add) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t j = 0; j < width; ++j) {
      float sum = add ? out[row * ldo + j] : 0;
      for (int64_t i = 0; i < count; ++i)
        sum += left[i * left_i + row * left_row] * to_float(right[i * ldr + j]);
      out[row * ldo + j] = sum;
    }
  }
}

template <int Vectors, class T>
HWY_INLINE void strip_of(int64_t rows, int64_t count, const float* left, int64_t left_i,
                         int64_t left_row, const T* right, int64_t ldr, float* out, int64_t ldo,
                         bool add) {
  int64_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    tile_of<8, Vectors>(count, left + row * left_row, left_i, left_row, right, ldr, out + row * ldo,
                        ldo, add);
  }
  for (; row + 4 <= rows; row += 4) {
    tile_of<4, Vectors>(count, left + row * left_row, left_i, left_row, right, ldr, out + row * ldo,
                        ldo, add);
  }
  for (; row < rows; ++row) {
    tile_of<1, Vectors>(count, left + row * left_row, left_i, left_row, right, ldr, out + row * ldo,
                        ldo, add);
  }
}

template <class T>
HWY_INLINE void outer(int64_t rows, int64_t width, int64_t count, const float* left, int64_t left_i,
                      int64_t left_row, const T* right, int64_t ldr, float* out, int64_t ldo,
                      bool add) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t j = 0;
  for (; j + 2 * lanes <= width; j += 2 * lanes) {
    strip_of<2>(rows, count, left, left_i, left_row, right + j, ldr, out + j, ldo, add);
  }
  for (; j + lanes <= width; j += lanes) {
    strip_of<1>(rows, count, left, left_i, left_row, right + j, ldr, out + j, ldo, add);
  }
  edge_of(rows, width - j, count, left, left_i, left_row, right + j, ldr, out + j, ldo, add);
}

void OuterFloat(int64_t rows, int64_t width, int64_t count, const float* left, int64_t left_i,
                int64_t left_row, const float* right, int64_t ldr, float* out, int64_t ldo,
                bool add) {
  outer(rows, width, count, left, left_i, left_row, right, ldr, out, ldo, add);
}
void OuterBf16(int64_t rows, int64_t width, int64_t count, const float* left, int64_t left_i,
               int64_t left_row, const Bf16* right, int64_t ldr, float* out, int64_t ldo,
               bool add) {
  outer(rows, width, count, left, left_i, left_row, right, ldr, out, ldo, add);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "smidgen/base/threads.h"
#include "smidgen/kernels/tile_product.h"

namespace smidgen {
namespace {

HWY_EXPORT(OuterFloat);
HWY_EXPORT(OuterBf16);

constexpr int64_t kRowGrain = 32;
constexpr int64_t kSlice = kPanelColumns / 2;  // ranks of one panel, which holds two bf16 of each
constexpr int64_t kInner = 1024;

// u of rows [begin, end) for one slice of ranks: the two halves of a tile's columns added.
void down_rows(int64_t begin, int64_t end, int64_t k, int64_t r, float scale, const Bf16* x,
               int64_t ldx, const Bf16* panels, float* u, int64_t ldu) {
  constexpr int64_t kTogether = 48;
  float tile[kTogether * kPanelColumns];
  const TileKernels& kernels = tile_kernels();
  for (int64_t row = begin; row < end; row += kTogether) {
    const int64_t rows = std::min(kTogether, end - row);
    for (int64_t k0 = 0; k0 < k; k0 += kInner) {
      kernels.multiply(rows, std::min(kInner, k - k0), x + row * ldx + k0, ldx,
                       panels + k0 * kPanelColumns, 2 * r, tile, kPanelColumns, k0 > 0);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const float* sums = tile + i * kPanelColumns;
      for (int64_t j = 0; j < r; ++j) u[(row + i) * ldu + j] = scale * (sums[j] + sums[r + j]);
    }
  }
}

// The panels of a slice of A^T: r columns of upper halves, then r of lower ones.
std::vector<Bf16> halves_of(int64_t k, int64_t r, SmallMatrix a) {
  std::vector<Bf16> rows(static_cast<size_t>(2 * r * k));
  for (int64_t j = 0; j < r; ++j) {
    for (int64_t i = 0; i < k; ++i) {
      const float value = a.data[j * a.row_stride + i * a.column_stride];
      const Bf16 high = to_bf16(value);
      rows[static_cast<size_t>(j * k + i)] = high;
      rows[static_cast<size_t>((r + j) * k + i)] = to_bf16(value - to_float(high));
    }
  }
  std::vector<Bf16> panels(static_cast<size_t>(panel_elements(k)));
  for (int64_t k0 = 0; k0 < k; k0 += kInner) {
    tile_kernels().pack_transposed(std::min(kInner, k - k0), 2 * r, rows.data() + k0, k,
                                   panels.data() + k0 * kPanelColumns);
  }
  return panels;
}

template <class T, class Kernel>
void gradient(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const T* z, int64_t ldz,
              float* g, int64_t ldg, Kernel&& kernel) {
  choose_kernel_target();
  // Columns in steps of two vectors of the widest target.
  constexpr int64_t kStep = 32;
  parallel_for((d + kStep - 1) / kStep, 1, [&](int64_t begin, int64_t end) {
    const int64_t j0 = begin * kStep, j1 = std::min(d, end * kStep);
    kernel(r, j1 - j0, n, u, ldu, 1, z + j0, ldz, g + j0, ldg, false);
  });
}

}  // namespace

void low_rank_down(int64_t n, int64_t k, int64_t r, float scale, const float* x, int64_t ldx,
                   SmallMatrix a, float* u, int64_t ldu) {
  choose_kernel_target();
  // Ranks up to a whole vector of the widest target: a part of one costs as much as sixteen.
  const int64_t whole = (r + 15) / 16 * 16;
  std::vector<float> columns(static_cast<size_t>(k * whole));
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < r; ++j)
      columns[static_cast<size_t>(i * whole + j)] =
          scale * a.data[j * a.row_stride + i * a.column_stride];
  }
  parallel_for(n, kRowGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> tile(static_cast<size_t>(kRowGrain * whole));
    for (int64_t row = begin; row < end; row += kRowGrain) {
      const int64_t rows = std::min(kRowGrain, end - row);
      HWY_DYNAMIC_DISPATCH(OuterFloat)
      (rows, whole, k, x + row * ldx, 1, ldx, columns.data(), whole, tile.data(), whole, false);
      for (int64_t i = 0; i < rows; ++i)
        std::copy_n(tile.data() + i * whole, r, u + (row + i) * ldu);
    }
  });
}

void low_rank_down(int64_t n, int64_t k, int64_t r, float scale, const Bf16* x, int64_t ldx,
                   SmallMatrix a, float* u, int64_t ldu) {
  for (int64_t j = 0; j < r; j += kSlice) {
    const int64_t ranks = std::min(kSlice, r - j);
    const std::vector<Bf16> panels =
        halves_of(k, ranks, {a.data + j * a.row_stride, a.row_stride, a.column_stride});
    parallel_for(n, kRowGrain, [&](int64_t begin, int64_t end) {
      down_rows(begin, end, k, ranks, scale, x, ldx, panels.data(), u + j, ldu);
    });
  }
}

void low_rank_up(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const float* b,
                 int64_t ldb, float* y, int64_t ldy) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(OuterFloat)(n, d, r, u, 1, ldu, b, ldb, y, ldy, true);
}

void low_rank_gradient(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const float* z,
                       int64_t ldz, float* g, int64_t ldg) {
  gradient(n, r, d, u, ldu, z, ldz, g, ldg,
           [](auto... x) { HWY_DYNAMIC_DISPATCH(OuterFloat)(x...); });
}

void low_rank_gradient(int64_t n, int64_t r, int64_t d, const float* u, int64_t ldu, const Bf16* z,
                       int64_t ldz, float* g, int64_t ldg) {
  gradient(n, r, d, u, ldu, z, ldz, g, ldg,
           [](auto... x) { HWY_DYNAMIC_DISPATCH(OuterBf16)(x...); });
}

}  // namespace smidgen
#endif  // HWY_ONCE
