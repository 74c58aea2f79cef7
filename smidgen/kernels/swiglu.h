// The gated activation of Llama's feed-forward block. Letters: n rows, d width; strides are in
// elements.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// y = silu(gate) up, silu(a) = a / (1 + exp(-a)). y [n, d] is packed; gate and up have their own
// row strides.
void swiglu_forward(int64_t n, int64_t d, const float* gate, int64_t gate_stride, const float* up,
                    int64_t up_stride, float* y);
void swiglu_forward(int64_t n, int64_t d, const Bf16* gate, int64_t gate_stride, const Bf16* up,
                    int64_t up_stride, Bf16* y);
void swiglu_forward_ref(int64_t n, int64_t d, const float* gate, int64_t gate_stride,
                        const float* up, int64_t up_stride, float* y);

// dgate = dy up s (1 + gate (1 - s)) with s = sigmoid(gate); dup = dy silu(gate). dy [n, d] is
// packed; dgate and dup have one row stride.
void swiglu_backward(int64_t n, int64_t d, const float* gate, int64_t gate_stride, const float* up,
                     int64_t up_stride, const float* dy, float* dgate, float* dup,
                     int64_t grad_stride);
void swiglu_backward(int64_t n, int64_t d, const Bf16* gate, int64_t gate_stride, const Bf16* up,
                     int64_t up_stride, const Bf16* dy, Bf16* dgate, Bf16* dup,
                     int64_t grad_stride);
void swiglu_backward_ref(int64_t n, int64_t d, const float* gate, int64_t gate_stride,
                         const float* up, int64_t up_stride, const float* dy, float* dgate,
                         float* dup);

}  // namespace smidgen
