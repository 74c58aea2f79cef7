// Root-mean-square normalisation of rows. Letters: n rows, d width.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// y = weight * x * r with r = 1 / sqrt(mean(x^2) + eps). x [n, d], weight [d] -> y [n, d].
void rms_norm_forward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                      float* y);
void rms_norm_forward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                      Bf16* y);
void rms_norm_forward_ref(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                          float* y);

// dx = added + r (weight dy) - x r^3 / d * sum(weight dy x); dweight += sum over rows of dy x r.
// added [n, d] may be null, or dx itself: what reaches x beside the norm, as in a residual stream.
// dweight [d] may be null. r is computed again from x, so the forward pass saves nothing but x.
void rms_norm_backward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                       const float* dy, const float* added, float* dx, float* dweight);
void rms_norm_backward(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                       const Bf16* dy, const float* added, float* dx, float* dweight);
void rms_norm_backward_ref(int64_t n, int64_t d, const float* x, const float* weight, float eps,
                           const float* dy, const float* added, float* dx, float* dweight);

}  // namespace smidgen
