// Products of 8-bit integers with AVX512_VNNI's dot products. Compiled with flags of its own
// (cmake/Isa.cmake): nothing here may run before the machine was asked.
#include "smidgen/kernels/int8_product.h"

#if defined(__AVX512VNNI__)
#include <cstring>
#include <immintrin.h>
#include <limits>
#include <utility>

#include "smidgen/kernels/isa/transpose.h"

namespace smidgen {
namespace {

constexpr int64_t kGroupStride = 4 * kPanelColumns;

inline __m512i group_of(const int8_t* p) {
  int32_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return _mm512_set1_epi32(bits);
}

template <int Rows, int Vectors>
void tile(int64_t groups, const int8_t* a, int64_t lda, const uint8_t* panel, __mmask16 last,
          int32_t* c, int64_t ldc, bool add) {
  __m512i sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const __mmask16 mask = v == Vectors - 1 ? last : __mmask16(0xffff);
      sums[r][v] =
          add ? _mm512_maskz_loadu_epi32(mask, c + r * ldc + 16 * v) : _mm512_setzero_si512();
    }
  }
  for (int64_t g = 0; g < groups; ++g, panel += kGroupStride, a += 4) {
    __m512i columns[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) columns[v] = _mm512_loadu_si512(panel + 64 * v);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i x = group_of(a + r * lda);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], columns[v], x);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      const __mmask16 mask = v == Vectors - 1 ? last : __mmask16(0xffff);
      _mm512_mask_storeu_epi32(c + r * ldc + 16 * v, mask, sums[r][v]);
    }
  }
}

using Tile = void (*)(int64_t, const int8_t*, int64_t, const uint8_t*, __mmask16, int32_t*, int64_t,
                      bool);

template <int Vectors, size_t... Rows>
constexpr auto tiles(std::index_sequence<Rows...>) {
  struct Table {
    Tile by_rows[sizeof...(Rows)];
  };
  return Table{{tile<int(Rows) + 1, Vectors>...}};
}

// As many rows as leave registers for the columns and one broadcast, in even shares.
template <int Vectors, int Most>
void run(int64_t m, int64_t groups, const int8_t* a, int64_t lda, const uint8_t* panel,
         __mmask16 last, int32_t* c, int64_t ldc, bool add) {
  static constexpr auto table = tiles<Vectors>(std::make_index_sequence<Most>());
  const int64_t parts = (m + Most - 1) / Most;
  for (int64_t part = 0, row = 0; part < parts; ++part) {
    const int64_t rows = (m - row + parts - part - 1) / (parts - part);
    table.by_rows[rows - 1](groups, a + row * lda, lda, panel, last, c + row * ldc, ldc, add);
    row += rows;
  }
}

void multiply(int64_t m, int64_t groups, const int8_t* a, int64_t lda, const uint8_t* panel,
              int64_t columns, int32_t* c, int64_t ldc, bool add) {
  if (m == 0 || columns == 0) return;
  const int64_t vectors = (columns + 15) / 16, rest = columns - 16 * (vectors - 1);
  const auto last = static_cast<__mmask16>((1u << rest) - 1);
  switch (vectors) {
    case 1:
      return run<1, 12>(m, groups, a, lda, panel, last, c, ldc, add);
    case 2:
      return run<2, 12>(m, groups, a, lda, panel, last, c, ldc, add);
    case 3:
      return run<3, 8>(m, groups, a, lda, panel, last, c, ldc, add);
    default:
      return run<4, 6>(m, groups, a, lda, panel, last, c, ldc, add);
  }
}

inline __m512i offset(__m512i w) {
  return _mm512_xor_si512(w, _mm512_set1_epi8(-128));
}

void pack(int64_t k, int64_t columns, const int8_t* b, int64_t ldb, uint8_t* panel) {
  for (int64_t i = 0; i < k; i += 4, panel += kGroupStride) {
    for (int64_t j = 0; j < columns; j += 16) {
      const auto mask = static_cast<__mmask16>((1u << std::min<int64_t>(16, columns - j)) - 1);
      __m128i row[4];
      for (int64_t r = 0; r < 4; ++r)
        row[r] =
            i + r < k ? _mm_maskz_loadu_epi8(mask, b + (i + r) * ldb + j) : _mm_setzero_si128();
      const __m128i a = _mm_unpacklo_epi8(row[0], row[1]), c = _mm_unpackhi_epi8(row[0], row[1]);
      const __m128i e = _mm_unpacklo_epi8(row[2], row[3]), f = _mm_unpackhi_epi8(row[2], row[3]);
      __m512i out = _mm512_castsi128_si512(_mm_unpacklo_epi16(a, e));
      out = _mm512_inserti32x4(out, _mm_unpackhi_epi16(a, e), 1);
      out = _mm512_inserti32x4(out, _mm_unpacklo_epi16(c, f), 2);
      out = _mm512_inserti32x4(out, _mm_unpackhi_epi16(c, f), 3);
      _mm512_storeu_si512(panel + 4 * j, offset(out));
    }
  }
}

void pack_transposed(int64_t k, int64_t columns, const int8_t* bt, int64_t ldb, uint8_t* panel) {
  for (int64_t j = 0; j < columns; j += 16) {
    for (int64_t i = 0; i < k; i += 64) {
      const int64_t left = std::min<int64_t>(64, k - i);
      const __mmask64 mask = left == 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
      __m512i x[16];
      for (int64_t r = 0; r < 16; ++r)
        x[r] = j + r < columns ? _mm512_maskz_loadu_epi8(mask, bt + (j + r) * ldb + i)
                               : _mm512_setzero_si512();
      transpose(x);
      uint8_t* out = panel + i * kPanelColumns + 4 * j;
      for (int64_t g = 0; g < (left + 3) / 4; ++g)
        _mm512_storeu_si512(out + g * kGroupStride, offset(x[g]));
    }
  }
}

inline __m512 scaled16(const Bf16* x, const float* factors, __mmask16 mask) {
  const __m256i halves = _mm256_maskz_loadu_epi16(mask, x);
  const __m512 wide = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  return factors ? _mm512_mul_ps(wide, _mm512_maskz_loadu_ps(mask, factors)) : wide;
}

void quantise(int64_t k, const Bf16* x, const float* factors, int8_t* q, float* scale,
              int32_t* sum) {
  const auto mask_at = [&](int64_t i) {
    return static_cast<__mmask16>(k - i >= 16 ? 0xffff : (1u << (k - i)) - 1);
  };
  __m512 most = _mm512_setzero_ps(), strange = most;  // 0 x is NaN of infinities and NaN
  for (int64_t i = 0; i < k; i += 16) {
    const __m512 v = scaled16(x + i, factors ? factors + i : nullptr, mask_at(i));
    most = _mm512_max_ps(most, _mm512_abs_ps(v));
    strange = _mm512_fmadd_ps(v, _mm512_setzero_ps(), strange);
  }
  const float top = _mm512_reduce_max_ps(most);
  const bool finite = _mm512_cmp_ps_mask(strange, strange, _CMP_UNORD_Q) == 0;
  const bool zero = !finite || top < 1e-30f;
  const __m512 inverse = _mm512_set1_ps(zero ? 0 : 127 / top);
  *scale = finite ? (zero ? 0 : top / 127) : std::numeric_limits<float>::quiet_NaN();
  __m512i total = _mm512_setzero_si512();
  const int64_t stride = (k + 3) / 4 * 4;
  for (int64_t i = 0; i < k; i += 16) {
    const __m512 v = scaled16(x + i, factors ? factors + i : nullptr, mask_at(i));
    const __m512i whole =
        zero ? _mm512_setzero_si512() : _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse));
    total = _mm512_add_epi32(total, whole);
    const int64_t left = std::min<int64_t>(16, stride - i);
    _mm512_mask_cvtepi32_storeu_epi8(q + i, static_cast<__mmask16>((1u << left) - 1), whole);
  }
  *sum = _mm512_reduce_add_epi32(total);
}

void finish(int64_t rows, int64_t columns, const float* scales, const int32_t* sums,
            const float* column_scales, int32_t* c, int64_t ldc) {
  for (int64_t r = 0; r < rows; ++r, c += ldc) {
    const __m512i excess = _mm512_set1_epi32(128 * sums[r]);
    const __m512 scale = _mm512_set1_ps(scales[r]);
    for (int64_t j = 0; j < columns; j += 16) {
      const auto mask =
          static_cast<__mmask16>(columns - j >= 16 ? 0xffff : (1u << (columns - j)) - 1);
      const __m512i whole = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(mask, c + j), excess);
      __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(whole), scale);
      if (column_scales)
        value = _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, column_scales + j));
      _mm512_mask_storeu_ps(c + j, mask, value);
    }
  }
}

constexpr Int8Kernels kKernels{multiply, pack, pack_transposed, quantise, finish};

}  // namespace

const Int8Kernels* avx512_int8_kernels() {
  return &kKernels;
}

}  // namespace smidgen
#else
namespace smidgen {
const Int8Kernels* avx512_int8_kernels() {
  return nullptr;
}
}  // namespace smidgen
#endif
