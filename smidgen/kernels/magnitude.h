// What selecting the largest magnitudes of a long vector does with each piece of it.
#pragma once

#include <cstdint>

namespace smidgen {

struct MagnitudeCount {
  double sum = 0, squares = 0;    // of x - shift, and of its square
  int64_t above = 0, inside = 0;  // magnitudes of at least `high`; those in [low, high)
};

// `low` and `high` are magnitudes as the bits of a non-negative float, which order like the floats.
// The bits of those in [low, high) go to `found`, in order; it has room for n + 16.
MagnitudeCount count_magnitudes(int64_t n, const float* x, float shift, uint32_t low, uint32_t high,
                                uint32_t* found);
MagnitudeCount count_magnitudes_ref(int64_t n, const float* x, float shift, uint32_t low,
                                    uint32_t high, uint32_t* found);

// Bitsets of (n + 63) / 64 words: x > threshold, x < -threshold, and |x| == threshold other than 0.
// Returns the sum of the magnitudes that are larger.
double mark_magnitudes(int64_t n, const float* x, float threshold, uint64_t* positive,
                       uint64_t* negative, uint64_t* equal);
double mark_magnitudes_ref(int64_t n, const float* x, float threshold, uint64_t* positive,
                           uint64_t* negative, uint64_t* equal);

}  // namespace smidgen
