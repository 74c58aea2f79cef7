// Rotary position embedding. Letters: n rows, h heads, c head width; half-split pairs (j, j + c/2)
// as in HF.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

enum class Turn {
  forward,
  backward
};  // backward turns by minus the angle: the inverse, and the gradient

// y_j = x_j cos - x_{j+c/2} sin, y_{j+c/2} = x_{j+c/2} cos + x_j sin with the angles of the row's
// position. x and y [n, h, c] have row strides in elements, heads lie side by side, and y may be x.
// cos, sin [positions, c/2]; positions [n].
void rope_rotate(Turn turn, int64_t n, int64_t h, int64_t c, const float* x, int64_t x_stride,
                 const float* cos, const float* sin, const int64_t* positions, float* y,
                 int64_t y_stride);
void rope_rotate(Turn turn, int64_t n, int64_t h, int64_t c, const Bf16* x, int64_t x_stride,
                 const float* cos, const float* sin, const int64_t* positions, Bf16* y,
                 int64_t y_stride);
void rope_rotate_ref(Turn turn, int64_t n, int64_t h, int64_t c, const float* x, int64_t x_stride,
                     const float* cos, const float* sin, const int64_t* positions, float* y,
                     int64_t y_stride);

}  // namespace smidgen
