// One step of an optimiser over flat fp32 arrays. The order of operations is torch.optim's (2.13,
// its single-tensor path), with scalars computed in double and rounded once, so that runs can be
// compared step by step.
#pragma once

#include <cstdint>

namespace smidgen {

struct AdamwStep {
  double learning_rate, beta1, beta2, eps, weight_decay;
  int64_t count;  // of steps these values have had, this one included: 1 at first
};

// value *= 1 - lr decay; m += (1 - beta1)(grad - m); v = beta2 v + (1 - beta2) grad^2;
// value -= lr / (1 - beta1^count) * m / (sqrt(v) / sqrt(1 - beta2^count) + eps).
// Loshchilov and Hutter 2019 (arXiv 1711.05101).
void adamw_step(const AdamwStep& step, int64_t n, float* value, const float* grad, float* m,
                float* v);
void adamw_step_ref(const AdamwStep& step, int64_t n, float* value, const float* grad, float* m,
                    float* v);

struct SgdStep {
  double learning_rate, momentum, weight_decay;
  bool nesterov;
  bool first;  // the buffer is set to the gradient instead of mixed with it
};

// g = grad + decay value; buffer = first ? g : momentum buffer + g; value -= lr (nesterov ? g +
// momentum buffer : buffer). buffer may be null without momentum.
void sgd_step(const SgdStep& step, int64_t n, float* value, const float* grad, float* buffer);
void sgd_step_ref(const SgdStep& step, int64_t n, float* value, const float* grad, float* buffer);

// Sum of squares in double over fixed blocks, the same for every thread count: what gradient
// clipping needs.
double sum_of_squares(int64_t n, const float* x);

// x *= factor.
void scale_in_place(int64_t n, float* x, float factor);

}  // namespace smidgen
