// How the rooms without torch see a tensor: where its bytes lie and what they mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace smidgen {

// Storage formats of elements. Plain types hold one element in a block; GGUF block types hold 32.
enum class Format : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean, q4_0, q4_1, q8_0 };

struct FormatInfo {
  Format format;
  std::string_view name;    // "f32", "q4_1"
  std::string_view safetensors;  // "F32"; empty where safetensors has no such type
  int64_t elements, bytes;  // of one block
  bool floating;            // may be read as floats
};

const FormatInfo& info(Format format);
std::span<const FormatInfo> formats();

// C order, little-endian, packed. The bytes belong to whoever made the view (usually a mapped file) and need not
// be aligned.
struct TensorView {
  Format format = Format::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t elements() const;
};

}  // namespace smidgen
