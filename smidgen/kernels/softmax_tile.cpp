#include "smidgen/kernels/softmax_tile.h"

#include <limits>

#include "smidgen/kernels/tile_product.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/softmax_tile.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

// 2^x for x <= 1 within 1.5 units in the last place; exactly 0 below -126.5, so also for -infinity.
// Adding 1.5 * 2^23 + 127 leaves the nearest integer and the bias in the lowest bits, from where
// one shift makes 2^n; 2^(x - n) is the polynomial of least relative error on [-1/2, 1/2].
HWY_INLINE V exp2_of(D d, V x) {
  const hn::Rebind<uint32_t, D> d32;
  const V magic = hn::Set(d, 12583039.0f);
  // The order lets a NaN through: x86's maximum answers its second operand.
  x = hn::Max(hn::Set(d, -127.0f), x);
  const V biased = hn::Add(x, magic);
  const V f = hn::Sub(x, hn::Sub(biased, magic));
  V p = hn::Set(d, 1.535336202e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.339887445e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.618437358e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550332471e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.402264791e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.931472029e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(d32, biased))));
}

// The columns [begin, end) of a row that it sees.
struct Columns {
  int64_t begin, end;
};
HWY_INLINE Columns columns_of(const ScoreTile& tile, int64_t r) {
  const int64_t begin = tile.seen[r].begin - tile.key0, end = tile.seen[r].end - tile.key0;
  return {begin < 0 ? 0 : begin, end > tile.columns ? tile.columns : end};
}

// x where the row sees, else `other`. Most vectors lie inside.
HWY_INLINE V where_seen(D d, Columns seen, int64_t j, V x, float other) {
  if (seen.begin <= j && j + static_cast<int64_t>(hn::Lanes(d)) <= seen.end) return x;
  const V at = hn::Iota(d, static_cast<float>(j));
  const auto inside = hn::And(hn::Ge(at, hn::Set(d, static_cast<float>(seen.begin))),
                              hn::Lt(at, hn::Set(d, static_cast<float>(seen.end))));
  return hn::IfThenElse(inside, x, hn::Set(d, other));
}

// Upper halves rounded to nearest even, by a carry from below. store() of simd-inl.h also keeps a
// NaN whose low bits would carry into the sign; those that arise from bf16 numbers have none.
using Bits = hn::Vec<hn::Rebind<uint32_t, D>>;
HWY_INLINE Bits rounded(V v) {
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
  return hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fff)));
}

HWY_INLINE void store_upper(Bits v, Bf16* out) {
  const hn::Rebind<uint16_t, D> d16;
  hn::StoreU(hn::TruncateTo(d16, hn::ShiftRight<16>(v)), d16, reinterpret_cast<uint16_t*>(out));
}

// Two rows in the halves of 32-bit lanes.
HWY_INLINE void store_pair(Bits first, Bits second, Bf16* out) {
  const hn::Rebind<uint32_t, D> d32;
  const auto upper = hn::And(second, hn::Set(d32, 0xffff0000u));
  hn::StoreU(hn::Or(hn::ShiftRight<16>(first), upper), d32, reinterpret_cast<uint32_t*>(out));
}

HWY_INLINE void store_p(D d, V v, float* out) {
  store(d, v, out);
}
HWY_INLINE void store_p(D, V v, Bf16* out) {
  store_upper(rounded(v), out);
}

// Scores in units of log2(e): factor * s, or factor * tanh(inner * s).
struct Rule {
  float factor, inner;
  bool capped;
};
HWY_INLINE Rule rule_of(const ScoreRule& rule) {
  const bool capped = rule.softcap != 0;
  return {(capped ? rule.softcap : rule.scale) * kLog2e, capped ? rule.scale / rule.softcap : 0,
          capped};
}

template <class T>
HWY_INLINE void softmax_rows(const ScoreTile& tile, const ScoreRule& score, float* s, T* p,
                             float* largest, float* sums, int64_t width, float* o) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Rule rule = rule_of(score);
  const V factor = hn::Set(d, rule.factor), inner = hn::Set(d, rule.inner);
  for (int64_t r = 0; r < tile.rows; ++r, s += kPanelColumns, p += kPanelColumns, o += width) {
    const Columns seen = columns_of(tile, r);
    const float before = largest[r];
    const V old = hn::Set(d, before);
    V top = old;
    for (int64_t j = 0; j < tile.columns; j += lanes) {
      V z = load(d, s + j);
      if (rule.capped) {
        z = hn::Tanh(d, hn::Mul(inner, z));
        store(d, z, s + j);
      }
      top = hn::Max(top, where_seen(d, seen, j, hn::Mul(factor, z), kNothing));
    }
    // What a row's sums and outputs are counted in. A row that saw nothing yet counts in 1.
    float now = before;
    if (!hn::AllTrue(d, hn::Le(top, old))) now = hn::GetLane(hn::MaxOfLanes(d, top));
    const float unit = now == kNothing ? 0.0f : now;
    V sum = load(d, sums + r * kSumLanes);
    if (now != before) {
      const V shrink = exp2_of(d, hn::Set(d, before - unit));
      sum = hn::Mul(sum, shrink);
      for_vectors(width,
                  [&](int64_t, auto get, auto put) HWY_ATTR { put(hn::Mul(get(o), shrink), o); });
      largest[r] = now;
    }
    const V away = hn::Set(d, unit);
    for (int64_t j = 0; j < tile.columns; j += lanes) {
      const V e = exp2_of(d, hn::MulSub(factor, load(d, s + j), away));
      const V x = where_seen(d, seen, j, e, 0.0f);
      sum = hn::Add(sum, x);
      store_p(d, x, p + j);
    }
    store(d, sum, sums + r * kSumLanes);
  }
}

void SoftmaxFloat(const ScoreTile& tile, const ScoreRule& rule, float* s, float* p, float* largest,
                  float* sums, int64_t width, float* o) {
  softmax_rows(tile, rule, s, p, largest, sums, width, o);
}
void SoftmaxBf16(const ScoreTile& tile, const ScoreRule& rule, float* s, Bf16* p, float* largest,
                 float* sums, int64_t width, float* o) {
  softmax_rows(tile, rule, s, p, largest, sums, width, o);
}

void Finish(int64_t rows, const float* largest, const float* sums, int64_t width, float* o,
            float* log_sums) {
  const D d;
  for (int64_t r = 0; r < rows; ++r, sums += kSumLanes, o += width) {
    const float total = sum(d, load(d, sums));
    const V inverse = hn::Set(d, 1.0f / total);
    for_vectors(width,
                [&](int64_t, auto get, auto put) HWY_ATTR { put(hn::Mul(get(o), inverse), o); });
    log_sums[r] = largest[r] * kLn2 + std::log(total);
  }
}

// One vector of P and dS. Its arguments in registers or not at all: this is the hottest loop.
HWY_INLINE void gradient_at(D d, const Rule& rule, Columns seen, int64_t j, V log_sum, V delta,
                            const float* s, const float* dp, V& p, V& ds) {
  V z = load(d, s + j), slope = hn::Sub(load(d, dp + j), delta);
  if (rule.capped) {
    z = hn::Tanh(d, hn::Mul(hn::Set(d, rule.inner), z));
    slope = hn::Mul(slope, hn::NegMulAdd(z, z, hn::Set(d, 1.0f)));
  }
  const V e = exp2_of(d, hn::MulSub(hn::Set(d, rule.factor), z, log_sum));
  p = where_seen(d, seen, j, e, 0.0f);
  ds = where_seen(d, seen, j, hn::Mul(p, slope), 0.0f);
}

void GradientFloat(const ScoreTile& tile, const ScoreRule& score, const float* log_sums,
                   const float* delta, const float* s, const float* dp, float* p, float* ds) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Rule rule = rule_of(score);
  for (int64_t r = 0; r < tile.rows; ++r) {
    const Columns seen = columns_of(tile, r);
    const V log_sum = hn::Set(d, log_sums[r] * kLog2e), less = hn::Set(d, delta[r]);
    const int64_t row = r * kPanelColumns;
    for (int64_t j = 0; j < tile.columns; j += lanes) {
      V p_here, ds_here;
      gradient_at(d, rule, seen, j, log_sum, less, s + row, dp + row, p_here, ds_here);
      store(d, p_here, p + row + j);
      store(d, ds_here, ds + row + j);
    }
  }
}

void GradientBf16(const ScoreTile& tile, const ScoreRule& score, const float* log_sums,
                  const float* delta, const float* s, const float* dp, Bf16* p_panel,
                  Bf16* ds_panel, Bf16* ds) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Rule rule = rule_of(score);
  for (int64_t r = 0; r < tile.rows; r += 2) {
    const bool paired = r + 1 < tile.rows;
    const int64_t next = paired ? r + 1 : r, row = r * kPanelColumns, row1 = next * kPanelColumns;
    const Columns seen = columns_of(tile, r);
    const Columns seen1 = paired ? columns_of(tile, next) : Columns{0, 0};
    const V log_sum = hn::Set(d, log_sums[r] * kLog2e), less = hn::Set(d, delta[r]);
    const V log_sum1 = hn::Set(d, log_sums[next] * kLog2e), less1 = hn::Set(d, delta[next]);
    for (int64_t j = 0; j < tile.columns; j += lanes) {
      V p0, p1, slope0, slope1;
      gradient_at(d, rule, seen, j, log_sum, less, s + row, dp + row, p0, slope0);
      gradient_at(d, rule, seen1, j, log_sum1, less1, s + row1, dp + row1, p1, slope1);
      store_pair(rounded(p0), rounded(p1), p_panel + row + 2 * j);
      const Bits ds0 = rounded(slope0), ds1 = rounded(slope1);
      store_pair(ds0, ds1, ds_panel + row + 2 * j);
      store_upper(ds0, ds + row + j);
      if (paired) store_upper(ds1, ds + row1 + j);
    }
  }
}

template <class T>
HWY_INLINE void scaled_of(int64_t n, float factor, const float* from, T* to) {
  const V by = hn::Set(D(), factor);
  for_vectors(n, [&](int64_t, auto get, auto put) HWY_ATTR { put(hn::Mul(by, get(from)), to); });
}
void ScaledFloat(int64_t n, float factor, const float* from, float* to) {
  scaled_of(n, factor, from, to);
}
void ScaledBf16(int64_t n, float factor, const float* from, Bf16* to) {
  scaled_of(n, factor, from, to);
}

template <class T>
HWY_INLINE float dot_of(int64_t n, const T* a, const T* b) {
  V total = hn::Zero(D());
  for_vectors(n,
              [&](int64_t, auto get, auto) HWY_ATTR { total = hn::MulAdd(get(a), get(b), total); });
  return sum(D(), total);
}
float DotFloat(int64_t n, const float* a, const float* b) {
  return dot_of(n, a, b);
}
float DotBf16(int64_t n, const Bf16* a, const Bf16* b) {
  return dot_of(n, a, b);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(SoftmaxFloat);
HWY_EXPORT(SoftmaxBf16);
HWY_EXPORT(Finish);
HWY_EXPORT(GradientFloat);
HWY_EXPORT(GradientBf16);
HWY_EXPORT(ScaledFloat);
HWY_EXPORT(ScaledBf16);
HWY_EXPORT(DotFloat);
HWY_EXPORT(DotBf16);

}  // namespace

template <>
void softmax_tile(const ScoreTile& tile, const ScoreRule& rule, float* s, float* p, float* largest,
                  float* sums, int64_t width, float* o) {
  HWY_DYNAMIC_DISPATCH(SoftmaxFloat)(tile, rule, s, p, largest, sums, width, o);
}
template <>
void softmax_tile(const ScoreTile& tile, const ScoreRule& rule, float* s, Bf16* p, float* largest,
                  float* sums, int64_t width, float* o) {
  HWY_DYNAMIC_DISPATCH(SoftmaxBf16)(tile, rule, s, p, largest, sums, width, o);
}

void softmax_finish(int64_t rows, const float* largest, const float* sums, int64_t width, float* o,
                    float* log_sums) {
  HWY_DYNAMIC_DISPATCH(Finish)(rows, largest, sums, width, o, log_sums);
}

template <>
void gradient_tile(const ScoreTile& tile, const ScoreRule& rule, const float* log_sums,
                   const float* delta, const float* s, const float* dp, float* p_panel,
                   float* ds_panel, float*) {
  HWY_DYNAMIC_DISPATCH(GradientFloat)(tile, rule, log_sums, delta, s, dp, p_panel, ds_panel);
}
template <>
void gradient_tile(const ScoreTile& tile, const ScoreRule& rule, const float* log_sums,
                   const float* delta, const float* s, const float* dp, Bf16* p_panel,
                   Bf16* ds_panel, Bf16* ds) {
  HWY_DYNAMIC_DISPATCH(GradientBf16)
  (tile, rule, log_sums, delta, s, dp, p_panel, ds_panel, ds);
}

void scaled(int64_t n, float factor, const float* from, Bf16* to) {
  HWY_DYNAMIC_DISPATCH(ScaledBf16)(n, factor, from, to);
}
void scaled(int64_t n, float factor, const float* from, float* to) {
  HWY_DYNAMIC_DISPATCH(ScaledFloat)(n, factor, from, to);
}

float dot(int64_t n, const Bf16* a, const Bf16* b) {
  return HWY_DYNAMIC_DISPATCH(DotBf16)(n, a, b);
}
float dot(int64_t n, const float* a, const float* b) {
  return HWY_DYNAMIC_DISPATCH(DotFloat)(n, a, b);
}

}  // namespace smidgen
#endif  // HWY_ONCE
