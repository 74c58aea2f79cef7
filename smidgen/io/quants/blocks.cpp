// Blocks of 32 with one scale, and with one minimum where the name ends in 1.
//   q4_0  d, 16 bytes;             x = (q - 8) d
//   q4_1  d, m, 16 bytes;          x = q d + m
//   q5_0  d, 4 bytes, 16 bytes;    x = (q - 16) d    the fifth bits lie apart, element i in bit i
//   q5_1  d, m, 4 bytes, 16 bytes; x = q d + m
//   q8_0  d, 32 int8;              x = q d
// Byte j of the four-bit parts holds element j in its low and element j + 16 in its high half.
//
// Encoding: M is the value of largest magnitude (the first of several), 1/d is taken before d is
// rounded to a half, and is 0 for d = 0.
//   q4_0  d = M / -8;            q = min(15, trunc(x/d + 8.5))
//   q4_1  d = (max - min) / 15;  q = min(15, trunc((x - min)/d + 0.5)), m = min
//   q8_0  d = |M| / 127;         q = x/d rounded to nearest, ties away from zero
// Where d is so small that 1/d overflows, d is 0 as a half as well, and so is every code.
#include <algorithm>
#include <cmath>

#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/packed_bytes.h"

namespace smidgen {
namespace {

constexpr int kBlock = 32, kHalf = 16;

int low_or_high(const uint8_t* packed, int i) {
  return i < kHalf ? packed[i] & 15 : packed[i - kHalf] >> 4;
}

void q4_0(const uint8_t* in, float* out) {
  const float d = load_half(in);
  for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(low_or_high(in + 2, i) - 8) * d;
}

void q4_1(const uint8_t* in, float* out) {
  const float d = load_half(in), m = load_half(in + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(low_or_high(in + 4, i)) * d + m;
}

int five_bits(const uint8_t* packed, uint32_t fifth, int i) {
  return low_or_high(packed, i) | static_cast<int>((fifth >> i) & 1) << 4;
}

void q5_0(const uint8_t* in, float* out) {
  const float d = load_half(in);
  const uint32_t fifth = load_u32(in + 2);
  for (int i = 0; i < kBlock; ++i)
    out[i] = static_cast<float>(five_bits(in + 6, fifth, i) - 16) * d;
}

void q5_1(const uint8_t* in, float* out) {
  const float d = load_half(in), m = load_half(in + 2);
  const uint32_t fifth = load_u32(in + 4);
  for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(five_bits(in + 8, fifth, i)) * d + m;
}

void q8_0(const uint8_t* in, float* out) {
  const float d = load_half(in);
  const auto* q = reinterpret_cast<const int8_t*>(in + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(q[i]) * d;
}

float inverse(float d) {
  return d == 0 ? 0 : 1 / d;
}

// 0 where 1/d overflowed and the quotient is no number.
int code(float quotient, int largest) {
  return std::isfinite(quotient) ? std::min(largest, static_cast<int>(quotient)) : 0;
}

template <class Quotient>
void pack_nibbles(uint8_t* out, const Quotient& quotient) {
  for (int i = 0; i < kHalf; ++i) {
    out[i] = static_cast<uint8_t>(code(quotient(i), 15) | code(quotient(i + kHalf), 15) << 4);
  }
}

void to_q4_0(const float* in, uint8_t* out) {
  float largest = in[0];
  for (int i = 1; i < kBlock; ++i) {
    if (std::abs(in[i]) > std::abs(largest)) largest = in[i];
  }
  const float d = largest / -8, inverse_d = inverse(d);
  store_half(out, d);
  pack_nibbles(out + 2, [&](int i) { return in[i] * inverse_d + 8.5f; });
}

void to_q4_1(const float* in, uint8_t* out) {
  const auto [low, high] = std::minmax_element(in, in + kBlock);
  const float m = *low, d = (*high - m) / 15, inverse_d = inverse(d);
  store_half(out, d);
  store_half(out + 2, m);
  pack_nibbles(out + 4, [&](int i) { return (in[i] - m) * inverse_d + 0.5f; });
}

void to_q8_0(const float* in, uint8_t* out) {
  float largest = 0;
  for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(in[i]));
  const float d = largest / 127, inverse_d = inverse(d);
  store_half(out, d);
  for (int i = 0; i < kBlock; ++i)
    out[2 + i] = static_cast<uint8_t>(code(std::round(in[i] * inverse_d), 127));
}

constexpr BlockCodec kCodecs[] = {
    {Format::q4_0, decode_each<q4_0, 32, 18>, encode_each<to_q4_0, 32, 18>},
    {Format::q4_1, decode_each<q4_1, 32, 20>, encode_each<to_q4_1, 32, 20>},
    {Format::q5_0, decode_each<q5_0, 32, 22>},
    {Format::q5_1, decode_each<q5_1, 32, 24>},
    {Format::q8_0, decode_each<q8_0, 32, 34>, encode_each<to_q8_0, 32, 34>},
};

}  // namespace

std::span<const BlockCodec> block_codecs() {
  return kCodecs;
}

}  // namespace smidgen
