#include "smidgen/kernels/optimiser_steps.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/optimiser_steps.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

#ifndef SMIDGEN_KERNELS_OPTIMISER_SCALARS_
#define SMIDGEN_KERNELS_OPTIMISER_SCALARS_
namespace smidgen {

// What torch computes in double and hands to its fp32 loops.
struct AdamwScalars {
  float keep, mix1, keep2, mix2, root2, eps, rate;
  explicit AdamwScalars(const AdamwStep& s)
      : keep(static_cast<float>(1 - s.learning_rate * s.weight_decay)),
        mix1(static_cast<float>(1 - s.beta1)),
        keep2(static_cast<float>(s.beta2)),
        mix2(static_cast<float>(1 - s.beta2)),
        root2(static_cast<float>(std::sqrt(1 - std::pow(s.beta2, static_cast<double>(s.count))))),
        eps(static_cast<float>(s.eps)),
        rate(static_cast<float>(-s.learning_rate /
                                (1 - std::pow(s.beta1, static_cast<double>(s.count))))) {}
};

struct SgdScalars {
  float rate, momentum, decay;
  bool nesterov, first;
  explicit SgdScalars(const SgdStep& s)
      : rate(static_cast<float>(-s.learning_rate)),
        momentum(static_cast<float>(s.momentum)),
        decay(static_cast<float>(s.weight_decay)),
        nesterov(s.nesterov),
        first(s.first) {}
};

}  // namespace smidgen
#endif

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

void AdamwRange(const AdamwScalars& s, int64_t n, float* value, const float* grad, float* m,
                float* v) {
  const D d;
  const V keep = hn::Set(d, s.keep), mix1 = hn::Set(d, s.mix1), keep2 = hn::Set(d, s.keep2);
  const V mix2 = hn::Set(d, s.mix2), root2 = hn::Set(d, s.root2), eps = hn::Set(d, s.eps);
  const V rate = hn::Set(d, s.rate);
  for_vectors(n, [&](int64_t, auto get, auto put) HWY_ATTR {
    const V g = get(grad), m0 = get(m);
    const V m1 = hn::Add(m0, hn::Mul(mix1, hn::Sub(g, m0)));
    const V v1 = hn::Add(hn::Mul(get(v), keep2), hn::Mul(hn::Mul(mix2, g), g));
    const V divisor = hn::Add(hn::Div(hn::Sqrt(v1), root2), eps);
    put(m1, m);
    put(v1, v);
    put(hn::Add(hn::Mul(get(value), keep), hn::Div(hn::Mul(rate, m1), divisor)), value);
  });
}

void SgdRange(const SgdScalars& s, int64_t n, float* value, const float* grad, float* buffer) {
  const D d;
  const V rate = hn::Set(d, s.rate), momentum = hn::Set(d, s.momentum), decay = hn::Set(d, s.decay);
  for_vectors(n, [&](int64_t, auto get, auto put) HWY_ATTR {
    V g = hn::Add(get(grad), hn::Mul(decay, get(value)));
    if (buffer) {
      const V b = s.first ? g : hn::Add(hn::Mul(get(buffer), momentum), g);
      put(b, buffer);
      g = s.nesterov ? hn::Add(g, hn::Mul(momentum, b)) : b;
    }
    put(hn::Add(get(value), hn::Mul(rate, g)), value);
  });
}

void ScaleRange(int64_t n, float* x, float factor) {
  const V f = hn::Set(D(), factor);
  for_vectors(n, [&](int64_t, auto get, auto put) HWY_ATTR { put(hn::Mul(get(x), f), x); });
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

HWY_EXPORT(AdamwRange);
HWY_EXPORT(SgdRange);
HWY_EXPORT(ScaleRange);

constexpr int64_t kGrain = 1 << 13;

}  // namespace

void adamw_step(const AdamwStep& step, int64_t n, float* value, const float* grad, float* m,
                float* v) {
  SMIDGEN_ASSERT(step.count > 0);
  choose_kernel_target();
  const AdamwScalars scalars(step);
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AdamwRange)
    (scalars, end - begin, value + begin, grad + begin, m + begin, v + begin);
  });
}

void adamw_step_ref(const AdamwStep& step, int64_t n, float* value, const float* grad, float* m,
                    float* v) {
  const AdamwScalars s(step);
  for (int64_t i = 0; i < n; ++i) {
    m[i] = m[i] + s.mix1 * (grad[i] - m[i]);
    v[i] = v[i] * s.keep2 + s.mix2 * grad[i] * grad[i];
    const float divisor = std::sqrt(v[i]) / s.root2 + s.eps;
    value[i] = value[i] * s.keep + s.rate * m[i] / divisor;
  }
}

void sgd_step(const SgdStep& step, int64_t n, float* value, const float* grad, float* buffer) {
  SMIDGEN_ASSERT(buffer || step.momentum == 0);
  choose_kernel_target();
  const SgdScalars scalars(step);
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SgdRange)
    (scalars, end - begin, value + begin, grad + begin, buffer ? buffer + begin : nullptr);
  });
}

void sgd_step_ref(const SgdStep& step, int64_t n, float* value, const float* grad, float* buffer) {
  const SgdScalars s(step);
  for (int64_t i = 0; i < n; ++i) {
    float g = grad[i] + s.decay * value[i];
    if (buffer) {
      buffer[i] = s.first ? g : buffer[i] * s.momentum + g;
      g = s.nesterov ? g + s.momentum * buffer[i] : buffer[i];
    }
    value[i] += s.rate * g;
  }
}

double sum_of_squares(int64_t n, const float* x) {
  constexpr int64_t kBlock = 1 << 16;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<size_t>(blocks));
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      // Four chains, so that the additions overlap.
      double sums[4] = {};
      const int64_t end = std::min(n, (b + 1) * kBlock);
      for (int64_t i = b * kBlock; i < end; ++i) sums[i & 3] += static_cast<double>(x[i]) * x[i];
      partial[static_cast<size_t>(b)] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  });
  double total = 0;
  for (double p : partial) total += p;
  return total;
}

void scale_in_place(int64_t n, float* x, float factor) {
  choose_kernel_target();
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ScaleRange)(end - begin, x + begin, factor);
  });
}

}  // namespace smidgen
#endif  // HWY_ONCE
