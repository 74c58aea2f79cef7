// Groups of 32 values of a row with one scale: bf16 s, not below max |x| / 7, then 4-bit
// round(x / s) in [-7, 7], two to a byte, the first in the low bits; the last group of a row is as
// long as it is. The scale is bf16 and not fp16, because differences between models are often
// smaller than fp16's normal numbers. 4.5 bits a value.
#include <cmath>

#include "smidgen/io/codecs/registry.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

constexpr size_t kGroup = 32;

// The least bf16 that is not below.
uint16_t up_to_bf16(float value) {
  const uint16_t bits = f32_to_bf16(value);
  return bf16_to_f32(bits) < value ? bits + 1 : bits;
}

class Int4 : public Codec, ValueCodec {
 public:
  std::string summary() const override { return "4-bit integers, one scale for 32"; }
  std::string source() const override { return ""; }
  const ValueCodec* values() const override { return this; }

  int64_t row_bytes(int64_t columns) const override {
    constexpr auto group = static_cast<int64_t>(kGroup);
    return columns / group * (2 + group / 2) +
           (columns % group ? 2 + (columns % group + 1) / 2 : 0);
  }
  void encode(std::span<const float> row, std::byte* out) const override {
    for (; !row.empty(); row = row.subspan(std::min(kGroup, row.size()))) {
      const auto group = row.first(std::min(kGroup, row.size()));
      float most = 0;
      for (const float value : group) most = std::max(most, std::fabs(value));
      uint16_t bits = up_to_bf16(most / 7);
      if (!std::isfinite(7 * bf16_to_f32(bits))) --bits;  // of the largest floats
      const float scale = bf16_to_f32(bits);
      std::memcpy(out, &bits, 2);
      out += 2;
      unsigned byte = 0;
      for (size_t i = 0; i < group.size(); ++i) {
        const float level = scale > 0 ? std::nearbyint(group[i] / scale) : 0;
        const auto digit = static_cast<unsigned>(static_cast<int>(level)) & 15;
        byte = i % 2 ? byte | digit << 4 : digit;
        if (i % 2 || i + 1 == group.size()) *out++ = static_cast<std::byte>(byte);
      }
    }
  }
  void decode(const std::byte* bytes, std::span<float> row,
              const std::string& where) const override {
    for (; !row.empty(); row = row.subspan(std::min(kGroup, row.size()))) {
      const auto group = row.first(std::min(kGroup, row.size()));
      const float scale = bf16_to_f32(load<uint16_t>(bytes));
      if (!std::isfinite(scale))
        throw Error(ErrorKind::format, "a group's scale is not finite", where);
      bytes += 2;
      for (size_t i = 0; i < group.size(); ++i) {
        const int digit = static_cast<int>(bytes[i / 2]) >> (i % 2 ? 4 : 0) & 15;
        group[i] = scale * static_cast<float>(digit > 7 ? digit - 16 : digit);
      }
      bytes += (group.size() + 1) / 2;
    }
  }
};

}  // namespace

std::unique_ptr<const Codec> make_int4_codec() {
  return std::make_unique<Int4>();
}

}  // namespace smidgen
