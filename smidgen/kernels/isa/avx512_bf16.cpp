// Tile kernels with AVX512_BF16's dot products. Compiled with flags of its own (cmake/Isa.cmake):
// nothing here may run before the machine was asked.
#include "smidgen/kernels/row_product.h"
#include "smidgen/kernels/tile_product.h"

#if defined(__AVX512BF16__)
#include <algorithm>
#include <cstring>
#include <immintrin.h>
#include <utility>

#include "smidgen/kernels/isa/transpose.h"

namespace smidgen {
namespace {

constexpr int64_t kPairStride = 2 * kPanelColumns;  // bf16 from one pair of rows to the next

inline __m512i pair_of(const Bf16* p) {
  int32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return _mm512_set1_epi32(bits);
}

// sum + x b, pair by pair in 16 lanes. As an instruction: clang 16 crashes on a cast from broadcast
// integers to the vector type of bf16 that the intrinsic wants.
inline __m512 add_pairs(__m512 sum, __m512i x, __m512i b) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(b));
  return sum;
}

// A as it is given: pairs of one row follow each other, `step` elements apart. Row-major A has
// steps of 2; in a panel of A^T its rows are 2 apart and its pairs kPairStride.
struct Left {
  const Bf16* data;
  int64_t row, step;
};

template <int Rows, int Vectors>
void tile(int64_t k, Left a, const Bf16* panel, __mmask16 last, float* c, int64_t ldc, bool add) {
  __m512 sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const __mmask16 mask = v == Vectors - 1 ? last : __mmask16(0xffff);
      sums[r][v] = add ? _mm512_maskz_loadu_ps(mask, c + r * ldc + 16 * v) : _mm512_setzero_ps();
    }
  }
  const auto step = [&](const Bf16* b, auto&& a_pair) {
    __m512i columns[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) columns[v] = _mm512_loadu_si512(b + 32 * v);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i x = a_pair(r);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        sums[r][v] = add_pairs(sums[r][v], x, columns[v]);
      }
    }
  };
  int64_t i = 0;
  for (; i + 2 <= k; i += 2, panel += kPairStride, a.data += a.step) {
    step(panel, [&](int r) { return pair_of(a.data + r * a.row); });
  }
  if (i < k) step(panel, [&](int r) { return _mm512_set1_epi32(a.data[r * a.row].bits); });
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const __mmask16 mask = v == Vectors - 1 ? last : __mmask16(0xffff);
      _mm512_mask_storeu_ps(c + r * ldc + 16 * v, mask, sums[r][v]);
    }
  }
}

using Tile = void (*)(int64_t, Left, const Bf16*, __mmask16, float*, int64_t, bool);

template <int Vectors, size_t... Rows>
constexpr auto tiles(std::index_sequence<Rows...>) {
  struct Table {
    Tile by_rows[sizeof...(Rows)];
  };
  return Table{{tile<int(Rows) + 1, Vectors>...}};
}

// As many rows as leave registers for the columns and one broadcast.
template <int Vectors, int Most>
void run(int64_t m, int64_t k, Left a, const Bf16* panel, __mmask16 last, float* c, int64_t ldc,
         bool add) {
  static constexpr auto table = tiles<Vectors>(std::make_index_sequence<Most>());
  // Even shares: 7 rows as 4 + 3 and not 6 + 1, which would wait for its own sums.
  const int64_t parts = (m + Most - 1) / Most;
  for (int64_t part = 0, row = 0; part < parts; ++part) {
    const int64_t rows = (m - row + parts - part - 1) / (parts - part);
    table.by_rows[rows - 1](k, a, panel, last, c + row * ldc, ldc, add);
    a.data += rows * a.row;
    row += rows;
  }
}

void multiply_left(int64_t m, int64_t k, Left a, const Bf16* panel, int64_t columns, float* c,
                   int64_t ldc, bool add) {
  if (m == 0 || columns == 0) return;
  const int64_t vectors = (columns + 15) / 16, rest = columns - 16 * (vectors - 1);
  const auto last = static_cast<__mmask16>((1u << rest) - 1);
  switch (vectors) {
    case 1:
      return run<1, 12>(m, k, a, panel, last, c, ldc, add);
    case 2:
      return run<2, 12>(m, k, a, panel, last, c, ldc, add);
    case 3:
      return run<3, 8>(m, k, a, panel, last, c, ldc, add);
    default:
      return run<4, 6>(m, k, a, panel, last, c, ldc, add);
  }
}

void multiply(int64_t m, int64_t k, const Bf16* a, int64_t lda, const Bf16* panel, int64_t columns,
              float* c, int64_t ldc, bool add) {
  multiply_left(m, k, {a, lda, 2}, panel, columns, c, ldc, add);
}

void multiply_panels(int64_t m, int64_t k, const Bf16* a_panel, const Bf16* panel, int64_t columns,
                     float* c, int64_t ldc, bool add) {
  multiply_left(m, (k + 1) / 2 * 2, {a_panel, 2, kPairStride}, panel, columns, c, ldc, add);
}

void pack(int64_t k, int64_t columns, const Bf16* b, int64_t ldb, Bf16* panel) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high =
      _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54,
                       22, 53, 21, 52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
  for (int64_t i = 0; i < k; i += 2, panel += kPairStride) {
    for (int64_t j = 0; j < columns; j += 32) {
      const int64_t left = std::min<int64_t>(32, columns - j);
      const auto mask = static_cast<__mmask32>(left == 32 ? ~0u : (1u << left) - 1);
      const __m512i first = _mm512_maskz_loadu_epi16(mask, b + i * ldb + j);
      const __m512i second = i + 1 < k ? _mm512_maskz_loadu_epi16(mask, b + (i + 1) * ldb + j)
                                       : _mm512_setzero_si512();
      _mm512_storeu_si512(panel + 2 * j, _mm512_permutex2var_epi16(first, low, second));
      if (left > 16)
        _mm512_storeu_si512(panel + 2 * j + 32, _mm512_permutex2var_epi16(first, high, second));
    }
  }
}

void pack_transposed(int64_t k, int64_t columns, const Bf16* bt, int64_t ldb, Bf16* panel) {
  for (int64_t j = 0; j < columns; j += 16) {
    for (int64_t i = 0; i < k; i += 32) {
      const int64_t left = std::min<int64_t>(32, k - i);
      const auto mask = static_cast<__mmask32>(left == 32 ? ~0u : (1u << left) - 1);
      __m512i x[16];
      for (int64_t r = 0; r < 16; ++r) {
        x[r] = j + r < columns ? _mm512_maskz_loadu_epi16(mask, bt + (j + r) * ldb + i)
                               : _mm512_setzero_si512();
      }
      transpose(x);
      Bf16* out = panel + i * kPanelColumns + 2 * j;
      for (int64_t p = 0; p < (left + 1) / 2; ++p) _mm512_storeu_si512(out + p * kPairStride, x[p]);
    }
  }
}

constexpr TileKernels kKernels{multiply, multiply_panels, pack, pack_transposed};

// Sums of `Rows` rows of A with 16 rows of W, which are turned in registers: the sums of multiply()
// in its order.
template <int Rows>
void dot_rows(int64_t k, const Bf16* a, int64_t lda, const Bf16* w, int64_t ldw, int64_t columns,
              const Bf16* next, float* c, int64_t ldc) {
  __m512 sums[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) sums[r] = _mm512_setzero_ps();
  for (int64_t i = 0; i < k; i += 32) {
    const int64_t left = std::min<int64_t>(32, k - i);
    const auto mask = static_cast<__mmask32>(left == 32 ? ~0u : (1u << left) - 1);
    __m512i x[16];
    for (int64_t r = 0; r < 16; ++r) {
      x[r] = r < columns ? _mm512_maskz_loadu_epi16(mask, w + r * ldw + i) : _mm512_setzero_si512();
      _mm_prefetch(reinterpret_cast<const char*>(next + r * 32), _MM_HINT_T1);
    }
    next += 16 * 32;
    transpose(x);
    if (left == 32) {
#pragma GCC unroll 16
      for (int p = 0; p < 16; ++p) {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
          sums[r] = add_pairs(sums[r], pair_of(a + r * lda + i + 2 * p), x[p]);
      }
      continue;
    }
    for (int64_t p = 0; p < (left + 1) / 2; ++p) {
      for (int r = 0; r < Rows; ++r) {
        const Bf16* at = a + r * lda + i + 2 * p;
        sums[r] =
            add_pairs(sums[r], 2 * p + 2 <= left ? pair_of(at) : _mm512_set1_epi32(at->bits), x[p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) _mm512_storeu_ps(c + r * ldc, sums[r]);
}

template <size_t... Rows>
constexpr auto row_kernels(std::index_sequence<Rows...>) {
  return RowKernels{{dot_rows<int(Rows) + 1>...}};
}
constexpr RowKernels kRowKernels = row_kernels(std::make_index_sequence<kFewRows>());

}  // namespace

const TileKernels* avx512_bf16_tile_kernels() {
  return &kKernels;
}

const RowKernels* avx512_bf16_row_kernels() {
  return &kRowKernels;
}

}  // namespace smidgen
#else
namespace smidgen {
const TileKernels* avx512_bf16_tile_kernels() {
  return nullptr;
}
const RowKernels* avx512_bf16_row_kernels() {
  return nullptr;
}
}  // namespace smidgen
#endif
