// Vector helpers shared by the kernels; included once per target, as Highway's -inl headers are.
#if defined(SMIDGEN_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SMIDGEN_KERNELS_SIMD_INL_H_
#undef SMIDGEN_KERNELS_SIMD_INL_H_
#else
#define SMIDGEN_KERNELS_SIMD_INL_H_
#endif

#include <cmath>
#include <cstring>
#include <limits>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "smidgen/kernels/bf16.h"

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_MAYBE_UNUSED HWY_INLINE V load(D d, const float* p) {
  return hn::LoadU(d, p);
}

// Debian's Highway 1.0.3 has no conversion on every target, so bf16 goes through integers.
HWY_MAYBE_UNUSED HWY_INLINE V load(D d, const Bf16* p) {
  const hn::Rebind<uint32_t, D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const auto half = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, half)));
}

HWY_MAYBE_UNUSED HWY_INLINE void store(D d, V v, float* p) {
  hn::StoreU(v, d, p);
}

// Round to nearest even; NaN becomes the quiet NaN.
HWY_MAYBE_UNUSED HWY_INLINE void store(D, V v, Bf16* p) {
  const hn::Rebind<uint32_t, D> d32;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(d32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7fff))));
  const auto number = hn::RebindMask(d32, hn::Eq(v, v));
  hn::StoreU(hn::TruncateTo(d16, hn::IfThenElse(number, rounded, hn::Set(d32, 0x7fc0))), d16,
             reinterpret_cast<uint16_t*>(p));
}

// The first `n` lanes, the others zero.
template <class T>
HWY_INLINE V load_part(D d, const T* p, size_t n) {
  T lanes[hn::MaxLanes(D())] = {};
  std::memcpy(static_cast<void*>(lanes), p, n * sizeof(T));
  return load(d, lanes);
}

template <class T>
HWY_INLINE void store_part(D d, V v, T* p, size_t n) {
  T lanes[hn::MaxLanes(D())];
  store(d, v, lanes);
  std::memcpy(static_cast<void*>(p), lanes, n * sizeof(T));
}

// Calls step(i, load, store) for each vector of [0, n); the last may be partial, and the two
// functions it is given then touch only what exists. Lanes beyond the end read as zero.
template <class Step>
HWY_INLINE void for_vectors(int64_t n, Step&& step) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    step(
        i, [&](const auto* p) HWY_ATTR { return load(d, p + i); },
        [&](V v, auto* p) HWY_ATTR { store(d, v, p + i); });
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    step(
        i, [&](const auto* p) HWY_ATTR { return load_part(d, p + i, rest); },
        [&](V v, auto* p) HWY_ATTR { store_part(d, v, p + i, rest); });
  }
}

HWY_MAYBE_UNUSED HWY_INLINE float sum(D d, V v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}

// 1 / (1 + exp(-a)) for any a: Highway's Exp must not be given more than +104.
HWY_MAYBE_UNUSED HWY_INLINE V sigmoid(D d, V a) {
  const V one = hn::Set(d, 1.0f);
  const V e = hn::Exp(d, hn::Neg(hn::Abs(a)));
  const V small = hn::Div(e, hn::Add(one, e));
  return hn::IfThenElse(hn::Lt(a, hn::Zero(d)), small, hn::Div(one, hn::Add(one, e)));
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#endif
