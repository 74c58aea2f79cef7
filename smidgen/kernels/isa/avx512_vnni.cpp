// Sixteen rows of a block format times rows in fixed point, with AVX512_VNNI's dot products.
// Compiled with flags of its own (cmake/Isa.cmake): nothing here may run before the machine was
// asked.
#include "smidgen/kernels/block_product.h"

#if defined(__AVX512VNNI__)
#include <cstring>
#include <immintrin.h>
#include <limits>

namespace smidgen {
namespace {

// --- rows of A
// --------------------------------------------------------------------------------------------------

inline __m512 load16(const float* x) {
  return _mm512_loadu_ps(x);
}
inline __m512 load16(const Bf16* x) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

template <class T>
void to_fixed_row(FixedRows& to, int64_t row, const T* x) {
  const int64_t blocks = to.blocks();
  int8_t *high = to.high.data() + row * to.k, *low = to.low.data() + row * to.k;
  float* scales = to.scales.data() + row * blocks;
  int32_t* sums = to.sums.data() + row * 2 * blocks;
  for (int64_t b = 0; b < blocks; ++b, x += kFixedBlock) {
    const __m512 half[2] = {load16(x), load16(x + kFixedHalf)};
    const float most =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(half[0]), _mm512_abs_ps(half[1])));
    const __m512 zero = _mm512_setzero_ps();
    // Infinities and NaN times 0 are NaN.
    const __mmask16 strange = _mm512_cmp_ps_mask(_mm512_mul_ps(half[0], zero),
                                                 _mm512_mul_ps(half[1], zero), _CMP_UNORD_Q);
    const bool tiny = !(most >= 1e-30f);
    scales[b] = strange ? std::numeric_limits<float>::quiet_NaN() : tiny ? 0 : most / 32512;
    const __m512 inverse = _mm512_set1_ps(strange || tiny ? 0 : 32512 / most);
    for (int h = 0; h < 2; ++h) {
      const __m512 scaled = strange ? zero : _mm512_mul_ps(half[h], inverse);
      const __m512i q = _mm512_cvtps_epi32(scaled);
      const __m512i upper = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(128)), 8);
      const int64_t at = b * kFixedBlock + h * kFixedHalf;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(high + at), _mm512_cvtepi32_epi8(upper));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(low + at), _mm512_cvtepi32_epi8(q));
      sums[2 * b + h] = _mm512_reduce_add_epi32(q);
    }
  }
}

// --- rows of W
// --------------------------------------------------------------------------------------------------

// Where the 16 rows lie, from the block in hand on.
struct Rows {
  const std::byte* first;
  int64_t stride;
};

inline __m128i load128(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// Bytes [at, at + 16) of each row as four vectors of 32-bit words, lane r being row r's.
inline void load_words(const Rows& rows, int64_t at, __m512i (&words)[4]) {
  __m512i z[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const std::byte* p = rows.first + j * rows.stride + at;
    // Loads under a mask, where inserts would wait for the units that the turn below needs.
    z[j] = _mm512_broadcast_i32x4(load128(p));
    z[j] = _mm512_mask_broadcast_i32x4(z[j], 0x00F0, load128(p + 4 * rows.stride));
    z[j] = _mm512_mask_broadcast_i32x4(z[j], 0x0F00, load128(p + 8 * rows.stride));
    z[j] = _mm512_mask_broadcast_i32x4(z[j], 0xF000, load128(p + 12 * rows.stride));
  }
  const __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
  const __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
  words[0] = _mm512_unpacklo_epi64(a, c);
  words[1] = _mm512_unpackhi_epi64(a, c);
  words[2] = _mm512_unpacklo_epi64(b, d);
  words[3] = _mm512_unpackhi_epi64(b, d);
}

// The 32-bit word at `at` of each row. Built of single loads: a gather takes longer than the rest
// of a block's work.
inline __m512i single_words(const Rows& rows, int64_t at) {
  __m128i quarter[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    int32_t word[4];
    for (int i = 0; i < 4; ++i)
      std::memcpy(&word[i], rows.first + (4 * j + i) * rows.stride + at, sizeof word[i]);
    quarter[j] = _mm_insert_epi32(_mm_cvtsi32_si128(word[0]), word[1], 1);
    quarter[j] = _mm_insert_epi32(_mm_insert_epi32(quarter[j], word[2], 2), word[3], 3);
  }
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(quarter[1], quarter[0])),
                            _mm256_set_m128i(quarter[3], quarter[2]), 1);
}

// The half in the lower or upper 16 bits of each lane.
inline __m512 lower_half(__m512i words) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
}
inline __m512 upper_half(__m512i words) {
  return lower_half(_mm512_srli_epi32(words, 16));
}

inline __m512i low_nibbles(__m512i words) {
  return _mm512_and_si512(words, _mm512_set1_epi8(15));
}
inline __m512i high_nibbles(__m512i words) {
  return low_nibbles(_mm512_srli_epi32(words, 4));
}

inline __m512i broadcast_word(const int8_t* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}

// sum over elements [at, at + 4 Words) of row a of codes q, lane by lane, from `start` on.
template <int Words>
inline __m512i dot(const __m512i* q, const int8_t* high, const int8_t* low, __m512i start) {
  // Two sums each, so that one dot product need not wait for the last.
  __m512i h[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  __m512i l[2] = {start, _mm512_setzero_si512()};
#pragma GCC unroll 8
  for (int w = 0; w < Words; ++w) {
    h[w % 2] = _mm512_dpbusd_epi32(h[w % 2], q[w], broadcast_word(high + 4 * w));
    l[w % 2] = _mm512_dpbusd_epi32(l[w % 2], q[w], broadcast_word(low + 4 * w));
  }
  return _mm512_add_epi32(_mm512_slli_epi32(_mm512_add_epi32(h[0], h[1]), 8),
                          _mm512_add_epi32(l[0], l[1]));
}

// One row of A at one block.
struct At {
  const int8_t *high, *low;
  float scale;
  int32_t sums[2];

  At(const FixedRows& a, int64_t row, int64_t block)
      : high(a.high.data() + row * a.k + block * kFixedBlock),
        low(a.low.data() + row * a.k + block * kFixedBlock),
        scale(a.scales[static_cast<size_t>(row * a.blocks() + block)]),
        sums{a.sums[static_cast<size_t>(2 * (row * a.blocks() + block))],
             a.sums[static_cast<size_t>(2 * (row * a.blocks() + block) + 1)]} {}
  int32_t sum() const { return sums[0] + sums[1]; }
};

inline __m512 as_floats(__m512i x) {
  return _mm512_cvtepi32_ps(x);
}

// x = d (q - bias): the bias leaves within the integers.
inline void add_biased(const FixedRows& a, int64_t block, const __m512i (&q)[8], __m512 d, int bias,
                       float* c, int64_t ldc) {
  for (int64_t row = 0; row < a.rows; ++row, c += ldc) {
    const At at(a, row, block);
    const __m512i sum = dot<8>(q, at.high, at.low, _mm512_set1_epi32(-bias * at.sum()));
    const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(at.scale));
    _mm512_storeu_ps(c, _mm512_fmadd_ps(as_floats(sum), scale, _mm512_loadu_ps(c)));
  }
}

// x = d q + m.
inline void add_with_minimum(const FixedRows& a, int64_t block, const __m512i* q, __m512 d,
                             __m512 m, float* c, int64_t ldc) {
  for (int64_t row = 0; row < a.rows; ++row, c += ldc) {
    const At at(a, row, block);
    const __m512i sum = dot<8>(q, at.high, at.low, _mm512_setzero_si512());
    const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(at.scale));
    const __m512 whole = _mm512_set1_ps(at.scale * static_cast<float>(at.sum()));
    const __m512 y = _mm512_fmadd_ps(as_floats(sum), scale, _mm512_loadu_ps(c));
    _mm512_storeu_ps(c, _mm512_fmadd_ps(m, whole, y));
  }
}

struct Q4_0 {
  static constexpr int64_t kBytes = 18, kBlocks = 1;
  static void add(const FixedRows& a, int64_t block, const Rows& rows, float* c, int64_t ldc) {
    __m512i words[4], q[8];
    load_words(rows, 2, words);
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w) q[w] = low_nibbles(words[w]), q[w + 4] = high_nibbles(words[w]);
    add_biased(a, block, q, lower_half(single_words(rows, 0)), 8, c, ldc);
  }
};

struct Q4_1 {
  static constexpr int64_t kBytes = 20, kBlocks = 1;
  static void add(const FixedRows& a, int64_t block, const Rows& rows, float* c, int64_t ldc) {
    __m512i words[4];
    load_words(rows, 4, words);
    add_block(a, block, single_words(rows, 0), words, c, ldc);
  }
  static void add_block(const FixedRows& a, int64_t block, __m512i head, const __m512i* words,
                        float* c, int64_t ldc) {
    __m512i q[8];
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w) q[w] = low_nibbles(words[w]), q[w + 4] = high_nibbles(words[w]);
    add_with_minimum(a, block, q, lower_half(head), upper_half(head), c, ldc);
  }
};

// Four blocks are five times 16 bytes, their heads among them.
struct FourOfQ4_1 {
  static constexpr int64_t kBytes = 4 * Q4_1::kBytes, kBlocks = 4;
  static void add(const FixedRows& a, int64_t block, const Rows& rows, float* c, int64_t ldc) {
    __m512i words[20], part[4];
#pragma GCC unroll 5
    for (int i = 0; i < 5; ++i) {
      load_words(rows, 16 * i, part);
#pragma GCC unroll 4
      for (int w = 0; w < 4; ++w) words[4 * i + w] = part[w];
    }
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b)
      Q4_1::add_block(a, block + b, words[5 * b], words + 5 * b + 1, c, ldc);
  }
};

struct Q8_0 {
  static constexpr int64_t kBytes = 34, kBlocks = 1;
  static void add(const FixedRows& a, int64_t block, const Rows& rows, float* c, int64_t ldc) {
    __m512i words[4], q[8];
    const __m512i sign = _mm512_set1_epi8(-128);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      load_words(rows, 2 + 16 * h, words);
#pragma GCC unroll 4
      for (int w = 0; w < 4; ++w) q[4 * h + w] = _mm512_xor_si512(words[w], sign);
    }
    add_biased(a, block, q, lower_half(single_words(rows, 0)), 128, c, ldc);
  }
};

// d, dmin, 12 bytes of eight scales and minima of six bits, 128 bytes of codes.
struct Q4_K {
  static constexpr int64_t kBytes = 144, kBlocks = 8;
  static void add(const FixedRows& a, int64_t block, const Rows& rows, float* c, int64_t ldc) {
    __m512i head[4];
    load_words(rows, 0, head);
    const __m512 d = lower_half(head[0]), least = upper_half(head[0]);
    const __m512i six = _mm512_set1_epi8(63), two = _mm512_set1_epi8(3);
    const auto later = [&](__m512i low, __m512i high) {
      const __m512i upper = _mm512_and_si512(_mm512_srli_epi32(high, 6), two);
      return _mm512_or_si512(low, _mm512_slli_epi32(upper, 4));
    };
    // Four scales, four minima, then the same of the second half.
    const __m512i scales[2] = {_mm512_and_si512(head[1], six),
                               later(low_nibbles(head[3]), head[1])};
    const __m512i minima[2] = {_mm512_and_si512(head[2], six),
                               later(high_nibbles(head[3]), head[2])};
    const auto byte = [](__m512i words, int i) {
      return as_floats(_mm512_and_si512(_mm512_srl_epi32(words, _mm_cvtsi32_si128(8 * i)),
                                        _mm512_set1_epi32(255)));
    };
    for (int pair = 0; pair < 4; ++pair) {
      __m512i words[8], q[2][8];
      __m512i part[4];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        load_words(rows, 16 + 32 * pair + 16 * h, part);
#pragma GCC unroll 4
        for (int w = 0; w < 4; ++w) words[4 * h + w] = part[w];
      }
#pragma GCC unroll 8
      for (int w = 0; w < 8; ++w) q[0][w] = low_nibbles(words[w]), q[1][w] = high_nibbles(words[w]);
      for (int h = 0; h < 2; ++h) {
        const int sub = 2 * pair + h;
        const __m512 scale = _mm512_mul_ps(d, byte(scales[sub / 4], sub % 4));
        const __m512 minimum = _mm512_mul_ps(least, byte(minima[sub / 4], sub % 4));
        add_with_minimum(a, block + sub, q[h], scale, _mm512_sub_ps(_mm512_setzero_ps(), minimum),
                         c, ldc);
      }
    }
  }
};

// 128 bytes of lower bits, 64 of upper bits, 16 scales of eight bits, d; x = d scale (q - 32).
struct Q6_K {
  static constexpr int64_t kBytes = 210, kBlocks = 8;
  static void add(const FixedRows& a, int64_t block, const Rows& rows, float* c, int64_t ldc) {
    __m512i scales[4];
    load_words(rows, 192, scales);
    const __m512 d = lower_half(_mm512_srli_epi32(single_words(rows, 206), 16));
    for (int half = 0; half < 2; ++half) {
      __m512i lower[16], upper[8], part[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        load_words(rows, 64 * half + 16 * i, part);
#pragma GCC unroll 4
        for (int w = 0; w < 4; ++w) lower[4 * i + w] = part[w];
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        load_words(rows, 128 + 32 * half + 16 * i, part);
#pragma GCC unroll 4
        for (int w = 0; w < 4; ++w) upper[4 * i + w] = part[w];
      }
#pragma GCC unroll 4
      for (int sub = 0; sub < 4; ++sub) {
        __m512i q[8];
#pragma GCC unroll 8
        for (int w = 0; w < 8; ++w) {
          const __m512i four = sub < 2 ? low_nibbles(lower[8 * (sub % 2) + w])
                                       : high_nibbles(lower[8 * (sub % 2) + w]);
          const __m512i two = _mm512_and_si512(
              _mm512_srl_epi32(upper[w], _mm_cvtsi32_si128(2 * sub)), _mm512_set1_epi8(3));
          q[w] = _mm512_or_si512(four, _mm512_slli_epi32(two, 4));
        }
        const __m512i bytes = scales[2 * half + sub / 2];
        const auto scale_of = [&](int h) {
          const __m512i left =
              _mm512_sll_epi32(bytes, _mm_cvtsi32_si128(24 - 16 * (sub % 2) - 8 * h));
          return _mm512_mul_ps(d, as_floats(_mm512_srai_epi32(left, 24)));
        };
        const __m512 scale[2] = {scale_of(0), scale_of(1)};
        float* out = c;
        for (int64_t row = 0; row < a.rows; ++row, out += ldc) {
          const At at(a, row, block + 4 * half + sub);
          __m512 y = _mm512_loadu_ps(out);
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h) {
            const __m512i sum = dot<4>(q + 4 * h, at.high + 16 * h, at.low + 16 * h,
                                       _mm512_set1_epi32(-32 * at.sums[h]));
            y = _mm512_fmadd_ps(as_floats(sum), _mm512_mul_ps(scale[h], _mm512_set1_ps(at.scale)),
                                y);
          }
          _mm512_storeu_ps(out, y);
        }
      }
    }
  }
};

// Adds blocks [from, a.blocks()) in steps of F::kBlocks, as many as there are; returns where it
// stopped and moves w and later along.
template <class F>
int64_t add_blocks(const FixedRows& a, int64_t from, const std::byte*& w, int64_t stride,
                   const std::byte*& later, float* c, int64_t ldc) {
  for (; from + F::kBlocks <= a.blocks(); from += F::kBlocks, w += F::kBytes) {
    for (int64_t line = 0; line < 16 * F::kBytes; line += 64)
      _mm_prefetch(reinterpret_cast<const char*>(later + line), _MM_HINT_T1);
    later += 16 * F::kBytes;
    F::add(a, from, {w, stride}, c, ldc);
  }
  return from;
}

template <class... F>
void multiply(const FixedRows& a, const std::byte* w, int64_t stride, const std::byte* later,
              float* c, int64_t ldc) {
  for (int64_t row = 0; row < a.rows; ++row) _mm512_storeu_ps(c + row * ldc, _mm512_setzero_ps());
  int64_t block = 0;
  ((block = add_blocks<F>(a, block, w, stride, later, c, ldc)), ...);
}

BlockKernels::Multiply find(Format format) {
  switch (format) {
    case Format::q4_0:
      return multiply<Q4_0>;
    case Format::q4_1:
      return multiply<FourOfQ4_1, Q4_1>;
    case Format::q8_0:
      return multiply<Q8_0>;
    case Format::q4_k:
      return multiply<Q4_K>;
    case Format::q6_k:
      return multiply<Q6_K>;
    default:
      return nullptr;
  }
}

constexpr BlockKernels kKernels{to_fixed_row<float>, to_fixed_row<Bf16>, find};

}  // namespace

const BlockKernels* avx512_vnni_block_kernels() {
  return &kKernels;
}

}  // namespace smidgen
#else
namespace smidgen {
const BlockKernels* avx512_vnni_block_kernels() {
  return nullptr;
}
}  // namespace smidgen
#endif
