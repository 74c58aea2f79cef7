// How the rooms without torch see a tensor: where its bytes lie and what they mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace smidgen {

// Storage formats of elements: those of safetensors, then the block types of GGUF.
// A format that exists only to be named and listed (see `readable`) still has its true block size.
enum class Format : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
  c64,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4,
  q4_0,
  q4_1,
  q8_0,
  q5_0,
  q5_1,
  q8_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  q8_k,
  iq2_xxs,
  iq2_xs,
  iq3_xxs,
  iq1_s,
  iq4_nl,
  iq3_s,
  iq2_s,
  iq4_xs,
  iq1_m,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
};

struct FormatInfo {
  Format format;
  std::string_view name;         // "f32", "q4_1"
  std::string_view safetensors;  // "F32"; empty where safetensors has no such type
  int64_t elements, bytes;       // of one block; f4 packs two elements into a byte
  bool floating;                 // the elements are real numbers
  bool readable;                 // to_f32 (io/dequantise.h) understands it
};

const FormatInfo& info(Format format);
std::span<const FormatInfo> formats();
inline std::string_view to_string(Format format) {
  return info(format).name;
}

// Bytes of a packed tensor; nothing when a size is negative, the product does not fit 63 bits, or
// the last dimension (for blocks) or the bit count (for sub-byte types) does not come out even.
std::optional<int64_t> packed_bytes(Format format, std::span<const int64_t> shape);

// C order, little-endian, packed. The bytes belong to whoever made the view (usually a mapped file)
// and need not be aligned.
struct TensorView {
  Format format = Format::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t elements() const;
};

}  // namespace smidgen
