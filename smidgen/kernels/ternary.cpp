#include "smidgen/kernels/ternary.h"

#include <algorithm>

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/ternary.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// The lanes that the lowest bits of a word choose. Highway reads up to eight bytes of bits.
HWY_INLINE hn::Mask<D> lanes_of(D d, uint64_t bits) {
  return hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&bits));
}

// Calls step(first element, positive lanes, negative lanes, lanes that exist) for each vector.
template <class Step>
HWY_INLINE void for_lanes(int64_t n, const uint64_t* positive, const uint64_t* negative,
                          Step&& step) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t word = 0; word * 64 < n; ++word) {
    const int64_t first = word * 64, count = std::min<int64_t>(64, n - first);
    for (int64_t i = 0; i < count; i += lanes) {
      step(first + i, lanes_of(d, positive[word] >> i), lanes_of(d, negative[word] >> i),
           std::min(lanes, count - i));
    }
  }
}

void TernaryAdd(int64_t n, const uint64_t* positive, const uint64_t* negative, float scale,
                float* y) {
  const D d;
  const V s = hn::Set(d, scale);
  for_lanes(n, positive, negative, [&](int64_t i, auto p, auto m, int64_t count) HWY_ATTR {
    const V change = hn::Sub(hn::IfThenElseZero(p, s), hn::IfThenElseZero(m, s));
    if (count == static_cast<int64_t>(hn::Lanes(d))) {
      store(d, hn::Add(load(d, y + i), change), y + i);
    } else {
      const auto rest = static_cast<size_t>(count);
      store_part(d, hn::Add(load_part(d, y + i, rest), change), y + i, rest);
    }
  });
}

// to + v in the lanes of `where`, to in the others: one masked instruction.
HWY_INLINE V add_where(hn::Mask<D> where, V to, V v) {
  return hn::IfThenElse(where, hn::Add(to, v), to);
}
HWY_INLINE V sub_where(hn::Mask<D> where, V to, V v) {
  return hn::IfThenElse(where, hn::Sub(to, v), to);
}

// `count` elements, at most a vector of them.
HWY_INLINE V load_some(D d, const float* x, int64_t count) {
  return count == static_cast<int64_t>(hn::Lanes(d)) ? load(d, x)
                                                     : load_part(d, x, static_cast<size_t>(count));
}

float TernarySum(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  // Four sums, so that additions do not wait for each other.
  V plus0 = hn::Zero(d), minus0 = hn::Zero(d), plus1 = hn::Zero(d), minus1 = hn::Zero(d);
  int64_t word = 0;
  for (; lanes <= 32 && word * 64 + 64 <= n; ++word) {
    const uint64_t p = positive[word], m = negative[word];
    for (int64_t i = 0; i < 64; i += 2 * lanes) {
      const V a = load(d, x + word * 64 + i), b = load(d, x + word * 64 + i + lanes);
      plus0 = add_where(lanes_of(d, p >> i), plus0, a);
      minus0 = add_where(lanes_of(d, m >> i), minus0, a);
      plus1 = add_where(lanes_of(d, p >> (i + lanes)), plus1, b);
      minus1 = add_where(lanes_of(d, m >> (i + lanes)), minus1, b);
    }
  }
  const int64_t first = word * 64;
  for_lanes(n - first, positive + word, negative + word,
            [&](int64_t i, auto p, auto m, int64_t count) HWY_ATTR {
              const V v = load_some(d, x + first + i, count);
              plus0 = add_where(p, plus0, v);
              minus0 = add_where(m, minus0, v);
            });
  return sum(d, hn::Sub(hn::Add(plus0, plus1), hn::Add(minus0, minus1)));
}

void TernarySum4(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x,
                 int64_t stride, float* sums) {
  const D d;
  V s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  for_lanes(n, positive, negative, [&](int64_t i, auto p, auto m, int64_t count) HWY_ATTR {
    const V v0 = load_some(d, x + i, count), v1 = load_some(d, x + stride + i, count);
    const V v2 = load_some(d, x + 2 * stride + i, count);
    const V v3 = load_some(d, x + 3 * stride + i, count);
    s0 = sub_where(m, add_where(p, s0, v0), v0);
    s1 = sub_where(m, add_where(p, s1, v1), v1);
    s2 = sub_where(m, add_where(p, s2, v2), v2);
    s3 = sub_where(m, add_where(p, s3, v3), v3);
  });
  sums[0] = sum(d, s0);
  sums[1] = sum(d, s1);
  sums[2] = sum(d, s2);
  sums[3] = sum(d, s3);
}

int64_t TernaryDot(int64_t words, const uint64_t* p1, const uint64_t* n1, const uint64_t* p2,
                   const uint64_t* n2) {
  const hn::ScalableTag<uint64_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto same = hn::Zero(d), other = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= words; i += lanes) {
    const auto a = hn::LoadU(d, p1 + i), b = hn::LoadU(d, n1 + i);
    const auto e = hn::LoadU(d, p2 + i), f = hn::LoadU(d, n2 + i);
    // No element has two signs, so the two sets of each kind do not overlap.
    same = hn::Add(same, hn::PopulationCount(hn::Or(hn::And(a, e), hn::And(b, f))));
    other = hn::Add(other, hn::PopulationCount(hn::Or(hn::And(a, f), hn::And(b, e))));
  }
  auto total = static_cast<int64_t>(hn::GetLane(hn::SumOfLanes(d, hn::Sub(same, other))));
  for (; i < words; ++i) {
    total += __builtin_popcountll((p1[i] & p2[i]) | (n1[i] & n2[i])) -
             __builtin_popcountll((p1[i] & n2[i]) | (n1[i] & p2[i]));
  }
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace smidgen {
namespace {

HWY_EXPORT(TernaryAdd);
HWY_EXPORT(TernarySum);
HWY_EXPORT(TernarySum4);
HWY_EXPORT(TernaryDot);

int sign_at(const uint64_t* positive, const uint64_t* negative, int64_t i) {
  return static_cast<int>(positive[i / 64] >> (i % 64) & 1) -
         static_cast<int>(negative[i / 64] >> (i % 64) & 1);
}

}  // namespace

void ternary_add(int64_t n, const uint64_t* positive, const uint64_t* negative, float scale,
                 float* y) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(TernaryAdd)(n, positive, negative, scale, y);
}

float ternary_sum(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(TernarySum)(n, positive, negative, x);
}

void ternary_sum4(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x,
                  int64_t stride, float* sums) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(TernarySum4)(n, positive, negative, x, stride, sums);
}

int64_t ternary_dot(int64_t words, const uint64_t* positive1, const uint64_t* negative1,
                    const uint64_t* positive2, const uint64_t* negative2) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(TernaryDot)(words, positive1, negative1, positive2, negative2);
}

void ternary_add_ref(int64_t n, const uint64_t* positive, const uint64_t* negative, float scale,
                     float* y) {
  for (int64_t i = 0; i < n; ++i)
    y[i] += scale * static_cast<float>(sign_at(positive, negative, i));
}

double ternary_sum_ref(int64_t n, const uint64_t* positive, const uint64_t* negative,
                       const float* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += sign_at(positive, negative, i) * static_cast<double>(x[i]);
  return sum;
}

int64_t ternary_dot_ref(int64_t words, const uint64_t* positive1, const uint64_t* negative1,
                        const uint64_t* positive2, const uint64_t* negative2) {
  int64_t total = 0;
  for (int64_t i = 0; i < words * 64; ++i)
    total += sign_at(positive1, negative1, i) * sign_at(positive2, negative2, i);
  return total;
}

}  // namespace smidgen
#endif  // HWY_ONCE
