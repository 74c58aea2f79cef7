// How one storage format becomes fp32 and back. A format is a row {format, decode, encode} in the
// table of its group's file; io/dequantise.h and io/quantise.h are the doors.
//
// Letters: d, m are half-precision scales, q integer codes, x the value. Every product and sum is
// rounded to fp32 on its own, in the order in which PyPI gguf 0.19.0 (quants.py) has it: values are
// equal bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

struct BlockCodec {
  Format format;
  // Bytes at any alignment.
  void (*decode)(const std::byte* in, int64_t blocks, float* out);
  // Null: the format is read only.
  void (*encode)(const float* in, int64_t blocks, std::byte* out) = nullptr;
};

// Null for a format whose values cannot be read.
const BlockCodec* find_codec(Format format);

// The groups.
std::span<const BlockCodec> plain_codecs();     // f64 f32 f16 bf16 f8_e4m3 f8_e5m2
std::span<const BlockCodec> block_codecs();     // one scale for 32 elements
std::span<const BlockCodec> k_codecs();         // super-blocks of 256 with scales of their own
std::span<const BlockCodec> ternary_codecs();   // -1, 0, 1
std::span<const BlockCodec> float4_codecs();    // four-bit floats and tables of 16 values
std::span<const BlockCodec> codebook_codecs();  // vectors of 4 or 8 out of a list

// A function for one block as one for many.
template <auto kBlock, int64_t kElements, int64_t kBytes>
void decode_each(const std::byte* in, int64_t blocks, float* out) {
  for (int64_t i = 0; i < blocks; ++i) {
    kBlock(reinterpret_cast<const uint8_t*>(in) + i * kBytes, out + i * kElements);
  }
}

template <auto kBlock, int64_t kElements, int64_t kBytes>
void encode_each(const float* in, int64_t blocks, std::byte* out) {
  for (int64_t i = 0; i < blocks; ++i) {
    kBlock(in + i * kElements, reinterpret_cast<uint8_t*>(out) + i * kBytes);
  }
}

}  // namespace smidgen
