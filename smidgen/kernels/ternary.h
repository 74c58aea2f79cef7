// Vectors of -1, 0 and +1 as two bitsets, times numbers or each other. Bit i % 64 of word i / 64
// stands for element i; bits behind the last element are zero. words = (n + 63) / 64.
#pragma once

#include <cstdint>

namespace smidgen {

// y[i] += scale * t[i]
void ternary_add(int64_t n, const uint64_t* positive, const uint64_t* negative, float scale,
                 float* y);
void ternary_add_ref(int64_t n, const uint64_t* positive, const uint64_t* negative, float scale,
                     float* y);

// sum_i t[i] x[i], in fp32 with a fixed order of additions.
float ternary_sum(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x);
double ternary_sum_ref(int64_t n, const uint64_t* positive, const uint64_t* negative,
                       const float* x);

// sums[r] = ternary_sum of x + r * stride, for r < 4: the bits are read once.
void ternary_sum4(int64_t n, const uint64_t* positive, const uint64_t* negative, const float* x,
                  int64_t stride, float* sums);

// sum_i s[i] t[i] = |P1 & P2| + |N1 & N2| - |P1 & N2| - |N1 & P2|, exact.
int64_t ternary_dot(int64_t words, const uint64_t* positive1, const uint64_t* negative1,
                    const uint64_t* positive2, const uint64_t* negative2);
int64_t ternary_dot_ref(int64_t words, const uint64_t* positive1, const uint64_t* negative1,
                        const uint64_t* positive2, const uint64_t* negative2);

}  // namespace smidgen
