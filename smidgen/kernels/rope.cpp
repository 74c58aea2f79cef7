#include "smidgen/kernels/rope.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/rope.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

template <class T>
HWY_INLINE void turn_heads(int64_t h, int64_t c, const T* x, const float* cos, const float* sin,
                           float sign, T* y) {
  const int64_t half = c / 2;
  const V vsign = hn::Set(D(), sign);
  for (int64_t head = 0; head < h; ++head, x += c, y += c) {
    for_vectors(half, [&](int64_t, auto get, auto put) HWY_ATTR {
      const V a = get(x), b = get(x + half), co = get(cos), si = hn::Mul(get(sin), vsign);
      put(hn::NegMulAdd(b, si, hn::Mul(a, co)), y);
      put(hn::MulAdd(a, si, hn::Mul(b, co)), y + half);
    });
  }
}

void TurnFloat(int64_t h, int64_t c, const float* x, const float* cos, const float* sin, float sign,
               float* y) {
  turn_heads(h, c, x, cos, sin, sign, y);
}
void TurnBf16(int64_t h, int64_t c, const Bf16* x, const float* cos, const float* sin, float sign,
              Bf16* y) {
  turn_heads(h, c, x, cos, sin, sign, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

HWY_EXPORT(TurnFloat);
HWY_EXPORT(TurnBf16);

float sign_of(Turn turn) {
  return turn == Turn::forward ? 1.0f : -1.0f;
}

int64_t row_grain(int64_t width) {
  return std::max<int64_t>(1, (int64_t{1} << 14) / std::max<int64_t>(1, width));
}

}  // namespace

void rope_rotate(Turn turn, int64_t n, int64_t h, int64_t c, const float* x, int64_t x_stride,
                 const float* cos, const float* sin, const int64_t* positions, float* y,
                 int64_t y_stride) {
  choose_kernel_target();
  parallel_for(n, row_grain(h * c), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = positions[r] * (c / 2);
      HWY_DYNAMIC_DISPATCH(TurnFloat)
      (h, c, x + r * x_stride, cos + row, sin + row, sign_of(turn), y + r * y_stride);
    }
  });
}

void rope_rotate(Turn turn, int64_t n, int64_t h, int64_t c, const Bf16* x, int64_t x_stride,
                 const float* cos, const float* sin, const int64_t* positions, Bf16* y,
                 int64_t y_stride) {
  choose_kernel_target();
  parallel_for(n, row_grain(h * c), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t row = positions[r] * (c / 2);
      HWY_DYNAMIC_DISPATCH(TurnBf16)
      (h, c, x + r * x_stride, cos + row, sin + row, sign_of(turn), y + r * y_stride);
    }
  });
}

void rope_rotate_ref(Turn turn, int64_t n, int64_t h, int64_t c, const float* x, int64_t x_stride,
                     const float* cos, const float* sin, const int64_t* positions, float* y,
                     int64_t y_stride) {
  const int64_t half = c / 2;
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t head = 0; head < h; ++head) {
      for (int64_t j = 0; j < half; ++j) {
        const double co = cos[positions[r] * half + j];
        const double si = sign_of(turn) * sin[positions[r] * half + j];
        const double a = x[r * x_stride + head * c + j], b = x[r * x_stride + head * c + j + half];
        y[r * y_stride + head * c + j] = static_cast<float>(a * co - b * si);
        y[r * y_stride + head * c + j + half] = static_cast<float>(b * co + a * si);
      }
    }
  }
}

}  // namespace smidgen
#endif  // HWY_ONCE
