#include "smidgen/kernels/tile_product.h"

#include <algorithm>
#include <type_traits>

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
// A tile is an array of vectors, which SVE's, of a length unknown here, cannot be: NEON serves it.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/tile_product.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// As many sums as leave registers for the columns and one broadcast.
#if HWY_TARGET == HWY_AVX3
constexpr int kRows = 6, kVectors = 4;
#else
constexpr int kRows = 4, kVectors = 2;
#endif

// One step over k: a row of float, a pair of rows of bf16, whose first lies in the lower half of a
// 32-bit lane.
template <int Rows, int Vectors, bool kWhole = true>
HWY_INLINE void step(const float* a, int64_t row, const float* columns, V (&sums)[Rows][Vectors]) {
  const D d;
  V b[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) b[v] = load(d, columns + v * hn::Lanes(d));
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
    const V x = hn::Set(d, a[r * row]);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[r][v] = hn::MulAdd(x, b[v], sums[r][v]);
  }
}

template <int Rows, int Vectors, bool kWhole = true>
HWY_INLINE void step(const Bf16* a, int64_t row, const Bf16* pairs, V (&sums)[Rows][Vectors]) {
  const D d;
  const hn::Rebind<uint32_t, D> d32;
  V first[Vectors], second[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    const auto both =
        hn::LoadU(d32, reinterpret_cast<const uint32_t*>(pairs + 2 * v * hn::Lanes(d)));
    first[v] = hn::BitCast(d, hn::ShiftLeft<16>(both));
    second[v] = hn::BitCast(d, hn::And(both, hn::Set(d32, 0xffff0000u)));
  }
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
    const V x = hn::Set(d, to_float(a[r * row]));
    const V y = hn::Set(d, kWhole ? to_float(a[r * row + 1]) : 0.0f);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      sums[r][v] = hn::MulAdd(x, first[v], sums[r][v]);
      if (kWhole) sums[r][v] = hn::MulAdd(y, second[v], sums[r][v]);
    }
  }
}

// How A lies: row-major, or as a panel of its transpose. `stride` leads to the next step over k.
template <class T>
struct Left {
  const T* data;
  int64_t row, stride;
};
template <class T>
constexpr int64_t kStep = std::is_same_v<T, Bf16> ? 2 : 1;

template <int Rows, int Vectors, class T>
HWY_INLINE void tile(int64_t k, Left<T> a, const T* panel, size_t columns, float* c, int64_t ldc,
                     bool add) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V sums[Rows][Vectors];
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      sums[r][v] = !add          ? hn::Zero(d)
                   : Vectors > 1 ? load(d, c + r * ldc + v * lanes)
                                 : load_part(d, c + r * ldc, columns);
    }
  }
  int64_t i = 0;
  for (; i + kStep<T> <= k; i += kStep<T>) {
    step(a.data, a.row, panel, sums);
    a.data += a.stride;
    panel += kStep<T> * kPanelColumns;
  }
  if (i < k) step<Rows, Vectors, false>(a.data, a.row, panel, sums);
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      if (Vectors > 1) {
        store(d, sums[r][v], c + r * ldc + v * lanes);
      } else {
        store_part(d, sums[r][v], c + r * ldc, columns);
      }
    }
  }
}

template <int Rows, class T>
HWY_INLINE void rows_of(int64_t k, Left<T> a, const T* panel, int64_t columns, float* c,
                        int64_t ldc, bool add) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t j = 0;
  for (; j + kVectors * lanes <= columns; j += kVectors * lanes)
    tile<Rows, kVectors>(k, a, panel + kStep<T> * j, 0, c + j, ldc, add);
  for (; j < columns; j += lanes) {
    const size_t rest = static_cast<size_t>(std::min(lanes, columns - j));
    tile<Rows, 1>(k, a, panel + kStep<T> * j, rest, c + j, ldc, add);
  }
}

template <class T>
HWY_INLINE void multiply_left(int64_t m, int64_t k, Left<T> a, const T* panel, int64_t columns,
                              float* c, int64_t ldc, bool add) {
  int64_t row = 0;
  for (; row + kRows <= m; row += kRows, a.data += kRows * a.row)
    rows_of<kRows>(k, a, panel, columns, c + row * ldc, ldc, add);
  for (; row < m; ++row, a.data += a.row) rows_of<1>(k, a, panel, columns, c + row * ldc, ldc, add);
}

void MultiplyBf16(int64_t m, int64_t k, const Bf16* a, int64_t row, int64_t stride,
                  const Bf16* panel, int64_t columns, float* c, int64_t ldc, bool add) {
  multiply_left<Bf16>(m, k, {a, row, stride}, panel, columns, c, ldc, add);
}

void MultiplyFloat(int64_t m, int64_t k, const float* a, int64_t row, int64_t stride,
                   const float* panel, int64_t columns, float* c, int64_t ldc, bool add) {
  multiply_left<float>(m, k, {a, row, stride}, panel, columns, c, ldc, add);
}

// Four by four where both sides are whole; the rest an element at a time.
void PackTransposedFloat(int64_t k, int64_t columns, const float* bt, int64_t ldb, float* panel) {
  for (int64_t j = 0; j < (columns + 15) / 16 * 16; j += 4) {
    int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    const hn::Full128<float> d4;
    const float* from = bt + j * ldb;
    for (; j + 4 <= columns && i + 4 <= k; i += 4, from += 4) {
      const auto a = hn::LoadU(d4, from), b = hn::LoadU(d4, from + ldb);
      const auto c = hn::LoadU(d4, from + 2 * ldb), d = hn::LoadU(d4, from + 3 * ldb);
      const auto ab01 = hn::InterleaveLower(d4, a, b), ab23 = hn::InterleaveUpper(d4, a, b);
      const auto cd01 = hn::InterleaveLower(d4, c, d), cd23 = hn::InterleaveUpper(d4, c, d);
      float* to = panel + i * kPanelColumns + j;
      hn::StoreU(hn::ConcatLowerLower(d4, cd01, ab01), d4, to);
      hn::StoreU(hn::ConcatUpperUpper(d4, cd01, ab01), d4, to + kPanelColumns);
      hn::StoreU(hn::ConcatLowerLower(d4, cd23, ab23), d4, to + 2 * kPanelColumns);
      hn::StoreU(hn::ConcatUpperUpper(d4, cd23, ab23), d4, to + 3 * kPanelColumns);
    }
#endif
    for (; i < k; ++i) {
      for (int64_t x = j; x < j + 4; ++x)
        panel[i * kPanelColumns + x] = x < columns ? bt[x * ldb + i] : 0.0f;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(MultiplyBf16);
HWY_EXPORT(MultiplyFloat);
HWY_EXPORT(PackTransposedFloat);

void multiply(int64_t m, int64_t k, const Bf16* a, int64_t lda, const Bf16* panel, int64_t columns,
              float* c, int64_t ldc, bool add) {
  HWY_DYNAMIC_DISPATCH(MultiplyBf16)(m, k, a, lda, 2, panel, columns, c, ldc, add);
}

void multiply(int64_t m, int64_t k, const float* a, int64_t lda, const float* panel,
              int64_t columns, float* c, int64_t ldc, bool add) {
  HWY_DYNAMIC_DISPATCH(MultiplyFloat)(m, k, a, lda, 1, panel, columns, c, ldc, add);
}

void multiply_panels(int64_t m, int64_t k, const Bf16* a_panel, const Bf16* panel, int64_t columns,
                     float* c, int64_t ldc, bool add) {
  HWY_DYNAMIC_DISPATCH(MultiplyBf16)
  (m, k, a_panel, 2, 2 * kPanelColumns, panel, columns, c, ldc, add);
}

void multiply_panels(int64_t m, int64_t k, const float* a_panel, const float* panel,
                     int64_t columns, float* c, int64_t ldc, bool add) {
  HWY_DYNAMIC_DISPATCH(MultiplyFloat)
  (m, k, a_panel, 1, kPanelColumns, panel, columns, c, ldc, add);
}

int64_t whole_vectors(int64_t columns) {
  return (columns + 15) / 16 * 16;
}

// b(i, j) is the element at row i and column j.
template <class Element>
void pack_by(int64_t k, int64_t columns, Bf16* panel, Element&& b) {
  for (int64_t i = 0; i < k; i += 2, panel += 2 * kPanelColumns) {
    for (int64_t j = 0; j < whole_vectors(columns); ++j) {
      panel[2 * j] = j < columns ? b(i, j) : Bf16{};
      panel[2 * j + 1] = j < columns && i + 1 < k ? b(i + 1, j) : Bf16{};
    }
  }
}

void pack(int64_t k, int64_t columns, const Bf16* b, int64_t ldb, Bf16* panel) {
  pack_by(k, columns, panel, [=](int64_t i, int64_t j) { return b[i * ldb + j]; });
}

void pack_transposed(int64_t k, int64_t columns, const Bf16* bt, int64_t ldb, Bf16* panel) {
  pack_by(k, columns, panel, [=](int64_t i, int64_t j) { return bt[j * ldb + i]; });
}

void pack(int64_t k, int64_t columns, const float* b, int64_t ldb, float* panel) {
  for (int64_t i = 0; i < k; ++i, b += ldb, panel += kPanelColumns)
    std::fill(std::copy(b, b + columns, panel), panel + whole_vectors(columns), 0.0f);
}

void pack_transposed(int64_t k, int64_t columns, const float* bt, int64_t ldb, float* panel) {
  HWY_DYNAMIC_DISPATCH(PackTransposedFloat)(k, columns, bt, ldb, panel);
}

constexpr TileKernels kPortable{multiply, multiply_panels, pack, pack_transposed};
constexpr TileKernelsOf<float> kFloat{multiply, multiply_panels, pack, pack_transposed};

}  // namespace

const TileKernels& tile_kernels() {
  choose_kernel_target();
  return uses_bf16_products() ? *avx512_bf16_tile_kernels() : kPortable;
}

const TileKernelsOf<float>& float_tile_kernels() {
  choose_kernel_target();
  return kFloat;
}

}  // namespace smidgen
#endif  // HWY_ONCE
