#include "smidgen/kernels/swiglu.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/swiglu.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

template <class T>
HWY_INLINE void swiglu_row(int64_t d, const T* gate, const T* up, T* y) {
  for_vectors(d, [&](int64_t, auto get, auto put) HWY_ATTR {
    const V a = get(gate);
    put(hn::Mul(hn::Mul(a, sigmoid(D(), a)), get(up)), y);
  });
}

template <class T>
HWY_INLINE void swiglu_row_backward(int64_t d, const T* gate, const T* up, const T* dy, T* dgate,
                                    T* dup) {
  for_vectors(d, [&](int64_t, auto get, auto put) HWY_ATTR {
    const V a = get(gate), g = get(dy), s = sigmoid(D(), a), one = hn::Set(D(), 1.0f);
    put(hn::Mul(g, hn::Mul(a, s)), dup);
    const V slope = hn::Mul(s, hn::MulAdd(a, hn::Sub(one, s), one));
    put(hn::Mul(hn::Mul(g, get(up)), slope), dgate);
  });
}

void SwigluFloat(int64_t d, const float* gate, const float* up, float* y) {
  swiglu_row(d, gate, up, y);
}
void SwigluBf16(int64_t d, const Bf16* gate, const Bf16* up, Bf16* y) {
  swiglu_row(d, gate, up, y);
}
void SwigluBackFloat(int64_t d, const float* gate, const float* up, const float* dy, float* dgate,
                     float* dup) {
  swiglu_row_backward(d, gate, up, dy, dgate, dup);
}
void SwigluBackBf16(int64_t d, const Bf16* gate, const Bf16* up, const Bf16* dy, Bf16* dgate,
                    Bf16* dup) {
  swiglu_row_backward(d, gate, up, dy, dgate, dup);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

HWY_EXPORT(SwigluFloat);
HWY_EXPORT(SwigluBf16);
HWY_EXPORT(SwigluBackFloat);
HWY_EXPORT(SwigluBackBf16);

template <class Row>
void for_rows(int64_t n, int64_t d, Row&& row) {
  choose_kernel_target();
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 13) / std::max<int64_t>(1, d));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) row(r);
  });
}

double sigmoid_ref(double a) {
  return 1 / (1 + std::exp(-a));
}

}  // namespace

void swiglu_forward(int64_t n, int64_t d, const float* gate, int64_t gate_stride, const float* up,
                    int64_t up_stride, float* y) {
  for_rows(n, d, [&](int64_t r) {
    HWY_DYNAMIC_DISPATCH(SwigluFloat)(d, gate + r * gate_stride, up + r * up_stride, y + r * d);
  });
}

void swiglu_forward(int64_t n, int64_t d, const Bf16* gate, int64_t gate_stride, const Bf16* up,
                    int64_t up_stride, Bf16* y) {
  for_rows(n, d, [&](int64_t r) {
    HWY_DYNAMIC_DISPATCH(SwigluBf16)(d, gate + r * gate_stride, up + r * up_stride, y + r * d);
  });
}

void swiglu_backward(int64_t n, int64_t d, const float* gate, int64_t gate_stride, const float* up,
                     int64_t up_stride, const float* dy, float* dgate, float* dup,
                     int64_t grad_stride) {
  for_rows(n, d, [&](int64_t r) {
    HWY_DYNAMIC_DISPATCH(SwigluBackFloat)
    (d, gate + r * gate_stride, up + r * up_stride, dy + r * d, dgate + r * grad_stride,
     dup + r * grad_stride);
  });
}

void swiglu_backward(int64_t n, int64_t d, const Bf16* gate, int64_t gate_stride, const Bf16* up,
                     int64_t up_stride, const Bf16* dy, Bf16* dgate, Bf16* dup,
                     int64_t grad_stride) {
  for_rows(n, d, [&](int64_t r) {
    HWY_DYNAMIC_DISPATCH(SwigluBackBf16)
    (d, gate + r * gate_stride, up + r * up_stride, dy + r * d, dgate + r * grad_stride,
     dup + r * grad_stride);
  });
}

void swiglu_forward_ref(int64_t n, int64_t d, const float* gate, int64_t gate_stride,
                        const float* up, int64_t up_stride, float* y) {
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t i = 0; i < d; ++i) {
      const double a = gate[r * gate_stride + i];
      y[r * d + i] = static_cast<float>(a * sigmoid_ref(a) * up[r * up_stride + i]);
    }
  }
}

void swiglu_backward_ref(int64_t n, int64_t d, const float* gate, int64_t gate_stride,
                         const float* up, int64_t up_stride, const float* dy, float* dgate,
                         float* dup) {
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t i = 0; i < d; ++i) {
      const double a = gate[r * gate_stride + i], s = sigmoid_ref(a), g = dy[r * d + i];
      dgate[r * d + i] = static_cast<float>(g * up[r * up_stride + i] * s * (1 + a * (1 - s)));
      dup[r * d + i] = static_cast<float>(g * a * s);
    }
  }
}

}  // namespace smidgen
#endif  // HWY_ONCE
