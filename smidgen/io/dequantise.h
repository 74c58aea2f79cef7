// Stored elements to fp32. Every format in the list is bit-exact with PyPI gguf 0.19.0 (quants.py),
// NaN payloads of half formats included. Input bytes may be unaligned.
//   f64              rounded to nearest even
//   f32 f16 bf16     the value
//   f8_e4m3 f8_e5m2  the value (equal to torch's)
//   q... iq... tq... mxfp4 nvfp4    formulas beside the code, io/quants/
// q8_1 and q8_k exist in memory only and never lie in files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

// All elements in C order; out.size() == view.elements(). A format that cannot be read: Error
// unsupported with its name.
void to_f32(const TensorView& view, std::span<float> out);

// Rows row0..row1 (excluded) of a tensor seen as [rows, last dimension]; out.size() == (row1 -
// row0) * last dimension.
void to_f32_rows(const TensorView& view, int64_t row0, int64_t row1, std::span<float> out);

// `count` elements that start at a block boundary.
void to_f32(Format format, const std::byte* bytes, int64_t count, float* out);

// IEEE 754 half and bfloat16 with all their subnormals, infinities and NaN.
float f16_to_f32(uint16_t bits);
float bf16_to_f32(uint16_t bits);
// Round to nearest, ties to even; overflow to infinity; NaN stays a (quiet) NaN.
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);
void f32_to_bf16(std::span<const float> in, std::span<uint16_t> out);
void f32_to_f16(std::span<const float> in, std::span<uint16_t> out);

}  // namespace smidgen
