#include "smidgen/kernels/ternary.h"

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

float TernarySum(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x) {
  const D d;
  V plus = hn::Zero(d), minus = hn::Zero(d);
  for_lanes(n, positive, negative, [&](int64_t i, auto p, auto m, int64_t count) HWY_ATTR {
    const V v = count == static_cast<int64_t>(hn::Lanes(d))
                    ? load(d, x + i)
                    : load_part(d, x + i, static_cast<size_t>(count));
    plus = hn::Add(plus, hn::IfThenElseZero(p, v));
    minus = hn::Add(minus, hn::IfThenElseZero(m, v));
  });
  return sum(d, hn::Sub(plus, minus));
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
#include <bit>

namespace smidgen {
namespace {

HWY_EXPORT(TernaryAdd);
HWY_EXPORT(TernarySum);
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
