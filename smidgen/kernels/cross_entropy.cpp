#include "smidgen/kernels/cross_entropy.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/cross_entropy.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// A lane adds this many exponentials in fp32, and the blocks are summed in double. With s_k the
// running sum of k equal terms, each addition rounds by up to 2^-24 s_k, evenly spread: the sum of
// K is off by about 2^-24 sqrt(K / 9) of itself, 3e-7 for 256. Counted per lane, since a target of
// one lane would otherwise make sixteen times the additions of AVX-512.
constexpr int64_t kLaneTerms = 256;

template <class T>
HWY_INLINE float score_row(int64_t v, const T* logits, int64_t target, float weight, T* gradient) {
  const D d;
  V most = hn::Set(d, -std::numeric_limits<float>::infinity());
  for_vectors(v, [&](int64_t i, auto get, auto) HWY_ATTR {
    V x = get(logits);
    // A partial vector ends in zeros, which are no logits.
    const int64_t left = v - i;
    if (left < static_cast<int64_t>(hn::Lanes(d))) {
      x = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(left)), x, most);
    }
    most = hn::Max(most, x);
  });
  const float top = hn::GetLane(hn::MaxOfLanes(d, most));
  const V vtop = hn::Set(d, top);

  const int64_t block = kLaneTerms * static_cast<int64_t>(hn::Lanes(d));
  double total = 0;
  for (int64_t begin = 0; begin < v; begin += block) {
    const int64_t count = HWY_MIN(block, v - begin);
    V sums = hn::Zero(d);
    for_vectors(count, [&](int64_t i, auto get, auto) HWY_ATTR {
      const V x = hn::Sub(get(logits + begin), vtop);
      // Highway's Exp turns NaN into 0; a NaN must reach the loss.
      V e = hn::IfThenElse(hn::Eq(x, x), hn::Exp(d, x), x);
      const int64_t left = count - i;
      if (left < static_cast<int64_t>(hn::Lanes(d))) {
        e = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(left)), e);
      }
      sums = hn::Add(sums, e);
    });
    total += static_cast<double>(sum(d, sums));
  }
  const double log_total = std::log(total);
  const float picked = to_float(logits[target]);
  const float loss = static_cast<float>(weight * (log_total + (static_cast<double>(top) - picked)));
  if (!gradient) return loss;

  const float log_total_f = static_cast<float>(log_total);
  const V vlog = hn::Set(d, log_total_f), vweight = hn::Set(d, weight);
  for_vectors(v, [&](int64_t, auto get, auto put) HWY_ATTR {
    put(hn::Mul(vweight, hn::Exp(d, hn::Sub(hn::Sub(get(logits), vtop), vlog))), gradient);
  });
  const float probability = std::exp((picked - top) - log_total_f);
  smidgen::store(weight * (probability - 1.0f), gradient + target);
  return loss;
}

float ScoreFloat(int64_t v, const float* logits, int64_t target, float weight, float* gradient) {
  return score_row(v, logits, target, weight, gradient);
}
float ScoreBf16(int64_t v, const Bf16* logits, int64_t target, float weight, Bf16* gradient) {
  return score_row(v, logits, target, weight, gradient);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

HWY_EXPORT(ScoreFloat);
HWY_EXPORT(ScoreBf16);

template <class T, class Score>
void score_rows(int64_t n, int64_t v, const T* logits, const int64_t* targets, const float* weights,
                float* losses, T* gradient, Score&& score) {
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* out = gradient ? gradient + r * v : nullptr;
      if (targets[r] < 0) {
        losses[r] = 0;
        if (out) std::fill(out, out + v, T());
        continue;
      }
      losses[r] = score(v, logits + r * v, targets[r], weights ? weights[r] : 1.0f, out);
    }
  });
}

}  // namespace

void cross_entropy_rows(int64_t n, int64_t v, const float* logits, const int64_t* targets,
                        const float* weights, float* losses, float* gradient) {
  choose_kernel_target();
  score_rows(n, v, logits, targets, weights, losses, gradient, HWY_DYNAMIC_DISPATCH(ScoreFloat));
}

void cross_entropy_rows(int64_t n, int64_t v, const Bf16* logits, const int64_t* targets,
                        const float* weights, float* losses, Bf16* gradient) {
  choose_kernel_target();
  score_rows(n, v, logits, targets, weights, losses, gradient, HWY_DYNAMIC_DISPATCH(ScoreBf16));
}

void cross_entropy_rows_ref(int64_t n, int64_t v, const float* logits, const int64_t* targets,
                            const float* weights, float* losses, float* gradient) {
  for (int64_t r = 0; r < n; ++r, logits += v) {
    const double weight = weights ? weights[r] : 1.0;
    const bool scored = targets[r] >= 0;
    const double top = *std::max_element(logits, logits + v);
    double total = 0;
    for (int64_t j = 0; j < v; ++j) total += std::exp(logits[j] - top);
    losses[r] =
        scored ? static_cast<float>(weight * (std::log(total) + top - logits[targets[r]])) : 0;
    for (int64_t j = 0; gradient && j < v; ++j) {
      const double softmax = std::exp(logits[j] - top) / total;
      gradient[r * v + j] =
          scored ? static_cast<float>(weight * (softmax - (j == targets[r] ? 1.0 : 0.0))) : 0;
    }
  }
}

}  // namespace smidgen
#endif  // HWY_ONCE
