// One number an element.
//   f8_e4m3  sign, 4 bits of exponent (bias 7), 3 of fraction; no infinity, NaN is 0x7f and 0xff
//   f8_e5m2  the upper byte of a half
// Source: OCP 8-bit floating point specification 1.0; torch.float8_e4m3fn and float8_e5m2 agree.
#include <bit>
#include <cstring>
#include <limits>

#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/packed_bytes.h"

namespace smidgen {
namespace {

void decode_f32(const std::byte* in, int64_t count, float* out) {
  std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
}

void f64(const uint8_t* in, float* out) {
  double value;
  std::memcpy(&value, in, sizeof value);
  *out = static_cast<float>(value);
}

void f16(const uint8_t* in, float* out) {
  *out = load_half(in);
}

void bf16(const uint8_t* in, float* out) {
  *out = bf16_to_f32(load_u16(in));
}

void e4m3(const uint8_t* in, float* out) {
  const uint32_t bits = *in, exponent = (bits >> 3) & 15, fraction = bits & 7;
  float value = exponent == 0 ? static_cast<float>(fraction) * 0x1p-9f
                              : std::bit_cast<float>(((exponent + 120) << 23) | (fraction << 20));
  if ((bits & 0x7f) == 0x7f) value = std::numeric_limits<float>::quiet_NaN();
  *out = bits & 0x80 ? -value : value;
}

void e5m2(const uint8_t* in, float* out) {
  *out = f16_to_f32(static_cast<uint16_t>(*in << 8));
}

void encode_f32(const float* in, int64_t count, std::byte* out) {
  std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
}

void to_f16(const float* in, uint8_t* out) {
  store_half(out, *in);
}

void to_bf16(const float* in, uint8_t* out) {
  const uint16_t bits = f32_to_bf16(*in);
  std::memcpy(out, &bits, sizeof bits);
}

constexpr BlockCodec kCodecs[] = {
    {Format::f32, decode_f32, encode_f32},
    {Format::f64, decode_each<f64, 1, 8>},
    {Format::f16, decode_each<f16, 1, 2>, encode_each<to_f16, 1, 2>},
    {Format::bf16, decode_each<bf16, 1, 2>, encode_each<to_bf16, 1, 2>},
    {Format::f8_e4m3, decode_each<e4m3, 1, 1>},
    {Format::f8_e5m2, decode_each<e5m2, 1, 1>},
};

}  // namespace

std::span<const BlockCodec> plain_codecs() {
  return kCodecs;
}

}  // namespace smidgen
