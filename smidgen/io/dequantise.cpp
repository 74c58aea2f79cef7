#include "smidgen/io/dequantise.h"

#include <bit>

#include "smidgen/base/error.h"
#include "smidgen/io/quants/block_codec.h"

namespace smidgen {

namespace {

const BlockCodec& require_codec(Format format) {
  if (const BlockCodec* codec = find_codec(format)) return *codec;
  std::vector<std::string_view> known;
  for (const FormatInfo& type : formats()) {
    if (type.readable) known.push_back(type.name);
  }
  throw Error(ErrorKind::unsupported, str("values of type ", info(format).name, " cannot be read"),
              "", str("readable: ", join(known)));
}

}  // namespace

float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 31, fraction = bits & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | (fraction << 13));
  // Subnormals as an exact product of normal floats: right also where the CPU flushes subnormals to
  // zero.
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 lies half-way between the largest half, 65504, and what would be the next one.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2^-14: the half is a whole number of 2^-24. Shift the fraction there and round to even
    // by hand.
    const int shift = 126 - static_cast<int>(magnitude >> 23);
    if (shift > 24) return sign;
    const uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
    const uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1),
                   half = 1u << (shift - 1);
    return static_cast<uint16_t>(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
  }
  const uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

void f32_to_bf16(std::span<const float> in, std::span<uint16_t> out) {
  SMIDGEN_ASSERT(in.size() == out.size());
  for (size_t i = 0; i < in.size(); ++i) out[i] = f32_to_bf16(in[i]);
}

void f32_to_f16(std::span<const float> in, std::span<uint16_t> out) {
  SMIDGEN_ASSERT(in.size() == out.size());
  for (size_t i = 0; i < in.size(); ++i) out[i] = f32_to_f16(in[i]);
}

void to_f32(Format format, const std::byte* bytes, int64_t count, float* out) {
  const BlockCodec& codec = require_codec(format);
  const int64_t elements = info(format).elements;
  SMIDGEN_ASSERT(count >= 0 && count % elements == 0);
  if (count > 0) codec.decode(bytes, count / elements, out);
}

void to_f32(const TensorView& view, std::span<float> out) {
  SMIDGEN_ASSERT(static_cast<int64_t>(out.size()) == view.elements());
  to_f32(view.format, view.bytes.data(), view.elements(), out.data());
}

void to_f32_rows(const TensorView& view, int64_t row0, int64_t row1, std::span<float> out) {
  const int64_t width = view.shape.empty() ? 1 : view.shape.back();
  const int64_t rows = width ? view.elements() / width : 0;
  SMIDGEN_ASSERT(0 <= row0 && row0 <= row1 && row1 <= rows);
  SMIDGEN_ASSERT(static_cast<int64_t>(out.size()) == (row1 - row0) * width);
  const FormatInfo& type = info(view.format);
  to_f32(view.format, view.bytes.data() + row0 * width / type.elements * type.bytes,
         (row1 - row0) * width, out.data());
}

}  // namespace smidgen
