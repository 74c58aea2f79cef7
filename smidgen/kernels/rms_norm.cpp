#include "smidgen/kernels/rms_norm.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/rms_norm.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

HWY_INLINE float inverse_rms(int64_t d, const float* x, float eps) {
  V squares = hn::Zero(D());
  for_vectors(d, [&](int64_t, auto get, auto) HWY_ATTR {
    const V v = get(x);
    squares = hn::MulAdd(v, v, squares);
  });
  return 1.0f / std::sqrt(sum(D(), squares) / static_cast<float>(d) + eps);
}

template <class Out>
HWY_INLINE void norm_rows(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                          Out* y) {
  for (int64_t r = 0; r < n; ++r, x += d, y += d) {
    const V scale = hn::Set(D(), inverse_rms(d, x, eps));
    for_vectors(d, [&](int64_t, auto get, auto put)
                       HWY_ATTR { put(hn::Mul(get(weight), hn::Mul(get(x), scale)), y); });
  }
}

template <class Grad>
HWY_INLINE void norm_rows_backward(int64_t n, int64_t d, const float* x, const float* weight,
                                   float eps, const Grad* dy, const float* added, float* dx,
                                   float* dweight) {
  for (int64_t r = 0; r < n; ++r, x += d, dy += d, dx += d) {
    const float scale = inverse_rms(d, x, eps);
    V dots = hn::Zero(D());
    for_vectors(d, [&](int64_t, auto get, auto) HWY_ATTR {
      dots = hn::MulAdd(hn::Mul(get(weight), get(dy)), get(x), dots);
    });
    const float pull = sum(D(), dots) * scale * scale * scale / static_cast<float>(d);
    const V vscale = hn::Set(D(), scale), vpull = hn::Set(D(), pull);
    for_vectors(d, [&](int64_t, auto get, auto put) HWY_ATTR {
      const V g = hn::Mul(get(weight), get(dy));
      const V own = hn::NegMulAdd(get(x), vpull, hn::Mul(g, vscale));
      put(added ? hn::Add(get(added), own) : own, dx);
    });
    if (added) added += d;
    if (!dweight) continue;
    for_vectors(d, [&](int64_t, auto get, auto put) HWY_ATTR {
      put(hn::MulAdd(get(dy), hn::Mul(get(x), vscale), get(dweight)), dweight);
    });
  }
}

void NormToFloat(int64_t n, int64_t d, const float* x, const float* w, float eps, float* y) {
  norm_rows(n, d, x, w, eps, y);
}
void NormToBf16(int64_t n, int64_t d, const float* x, const float* w, float eps, Bf16* y) {
  norm_rows(n, d, x, w, eps, y);
}
void NormBackFloat(int64_t n, int64_t d, const float* x, const float* w, float eps, const float* dy,
                   const float* added, float* dx, float* dw) {
  norm_rows_backward(n, d, x, w, eps, dy, added, dx, dw);
}
void NormBackBf16(int64_t n, int64_t d, const float* x, const float* w, float eps, const Bf16* dy,
                  const float* added, float* dx, float* dw) {
  norm_rows_backward(n, d, x, w, eps, dy, added, dx, dw);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>
#include <vector>

#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

HWY_EXPORT(NormToFloat);
HWY_EXPORT(NormToBf16);
HWY_EXPORT(NormBackFloat);
HWY_EXPORT(NormBackBf16);

// Elements that are worth a thread of their own.
constexpr int64_t kGrain = 1 << 14;

int64_t row_grain(int64_t d) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, d));
}

// Partial weight gradients of fixed blocks of rows are added in order, so that threads do not
// change the sum's order.
constexpr int64_t kBlockRows = 64;

template <class Grad, class Kernel>
void backward(int64_t n, int64_t d, const float* x, const Grad* dy, const float* added, float* dx,
              float* dweight, Kernel&& kernel) {
  choose_kernel_target();
  const auto added_at = [&](int64_t row) { return added ? added + row * d : nullptr; };
  if (!dweight) {
    parallel_for(n, row_grain(d), [&](int64_t begin, int64_t end) {
      kernel(end - begin, x + begin * d, dy + begin * d, added_at(begin), dx + begin * d, nullptr);
    });
    return;
  }
  const int64_t blocks = (n + kBlockRows - 1) / kBlockRows;
  std::vector<float> partial(static_cast<size_t>(blocks * d), 0.0f);
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t begin = b * kBlockRows, rows = std::min(kBlockRows, n - begin);
      kernel(rows, x + begin * d, dy + begin * d, added_at(begin), dx + begin * d,
             partial.data() + b * d);
    }
  });
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t i = 0; i < d; ++i) dweight[i] += partial[static_cast<size_t>(b * d + i)];
  }
}

}  // namespace

void rms_norm_forward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                      float* y) {
  choose_kernel_target();
  parallel_for(n, row_grain(d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(NormToFloat)(end - begin, d, x + begin * d, weight, eps, y + begin * d);
  });
}

void rms_norm_forward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                      Bf16* y) {
  choose_kernel_target();
  parallel_for(n, row_grain(d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(NormToBf16)(end - begin, d, x + begin * d, weight, eps, y + begin * d);
  });
}

void rms_norm_backward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                       const float* dy, const float* added, float* dx, float* dweight) {
  backward(n, d, x, dy, added, dx, dweight,
           [&](int64_t rows, const float* xs, const float* dys, const float* adds, float* dxs,
               float* dws) {
             HWY_DYNAMIC_DISPATCH(NormBackFloat)(rows, d, xs, weight, eps, dys, adds, dxs, dws);
           });
}

void rms_norm_backward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                       const Bf16* dy, const float* added, float* dx, float* dweight) {
  backward(n, d, x, dy, added, dx, dweight,
           [&](int64_t rows, const float* xs, const Bf16* dys, const float* adds, float* dxs,
               float* dws) {
             HWY_DYNAMIC_DISPATCH(NormBackBf16)(rows, d, xs, weight, eps, dys, adds, dxs, dws);
           });
}

void rms_norm_forward_ref(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                          float* y) {
  for (int64_t r = 0; r < n; ++r, x += d, y += d) {
    double squares = 0;
    for (int64_t i = 0; i < d; ++i) squares += static_cast<double>(x[i]) * x[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(d) + eps);
    for (int64_t i = 0; i < d; ++i) y[i] = static_cast<float>(weight[i] * (x[i] * scale));
  }
}

void rms_norm_backward_ref(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                           const float* dy, const float* added, float* dx, float* dweight) {
  for (int64_t r = 0; r < n; ++r, x += d, dy += d, dx += d) {
    double squares = 0, dot = 0;
    for (int64_t i = 0; i < d; ++i) {
      squares += static_cast<double>(x[i]) * x[i];
      dot += static_cast<double>(weight[i]) * dy[i] * x[i];
    }
    const double width = static_cast<double>(d);
    const double scale = 1 / std::sqrt(squares / width + eps);
    for (int64_t i = 0; i < d; ++i) {
      dx[i] = static_cast<float>((added ? added[r * d + i] : 0) + scale * weight[i] * dy[i] -
                                 x[i] * scale * scale * scale / width * dot);
      if (dweight) dweight[i] += static_cast<float>(dy[i] * (x[i] * scale));
    }
  }
}

}  // namespace smidgen
#endif  // HWY_ONCE
