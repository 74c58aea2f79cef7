// Numbers between memory and files, and what is asked of many of them at once: the inner loops of
// merging and comparing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

// f32, bf16 and f16 have vector code here; to_f32 and from_f32 (io) are their references, and take
// every other format. NaN stays NaN, though not always with its bits.
void read_values(Format format, const std::byte* bytes, int64_t n, float* out);
// Throws as from_f32 does, with the tensor's name. bytes: n elements of `format`.
void write_values(Format format, int64_t n, const float* values, std::byte* bytes,
                  const char* name);

// No NaN and no infinity.
bool all_finite(int64_t n, const float* x);

// sum (a - b)^2; inside of 2^12 elements in fp32, over them in fp64.
double squared_distance(int64_t n, const float* a, const float* b);
double squared_distance_ref(int64_t n, const float* a, const float* b);

// How many a[k] != b[k].
int64_t count_different(int64_t n, const float* a, const float* b);

// On how many elements some of x_0 .. x_{m-1} lie above r and others below.
int64_t count_disputed(int64_t n, std::span<const float* const> x, const float* r);

}  // namespace smidgen
