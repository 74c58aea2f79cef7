// Super-blocks of 256: a half d (and dmin) for the whole, small integer scales for parts of it.
//   q2_k  16 bytes (scale | min << 4), 64 bytes, d, dmin;   16 parts;  x = (d sc) q - dmin mn
//   q3_k  32 bytes of third bits, 64 bytes, 12 bytes of scales, d;     16 parts;  x = (d sc) q
//   q4_k  d, dmin, 12 bytes of scales, 128 bytes;           8 parts;   x = (d sc) q - dmin mn
//   q5_k  d, dmin, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes;  8 parts, as q4_k
//   q6_k  128 bytes, 64 bytes of upper bits, 16 int8 scales, d;        16 parts;  x = (d sc) (q -
//   32)
#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/packed_bytes.h"

namespace smidgen {
namespace {

constexpr int kSuper = 256;

// Two-bit codes: 32 bytes hold four runs of 32 elements, the first in their lowest bits.
int two_bits(const uint8_t* packed, int i) {
  return (packed[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
}

// Four-bit codes: 32 bytes hold two runs of 32 elements.
int four_bits(const uint8_t* packed, int i) {
  return (packed[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2))) & 15;
}

// The eight six-bit scales and minima of q4_k and q5_k in 12 bytes: the first four of each in the
// low bits of bytes 0-3 and 4-7; the last four have their low halves in bytes 8-11 and their upper
// two bits on top of bytes 0-7.
int part_scale(const uint8_t* b, int j) {
  return j < 4 ? b[j] & 63 : (b[j + 4] & 15) | ((b[j - 4] >> 2) & 0x30);
}
int part_minimum(const uint8_t* b, int j) {
  return j < 4 ? b[j + 4] & 63 : (b[j + 4] >> 4) | ((b[j] >> 2) & 0x30);
}

void q2_k(const uint8_t* in, float* out) {
  const float d = load_half(in + 80), dmin = load_half(in + 82);
  for (int part = 0; part < 16; ++part) {
    const float scale = d * static_cast<float>(in[part] & 15);
    const float minimum = dmin * static_cast<float>(in[part] >> 4);
    for (int i = 16 * part; i < 16 * part + 16; ++i)
      out[i] = scale * static_cast<float>(two_bits(in + 16, i)) - minimum;
  }
}

void q3_k(const uint8_t* in, float* out) {
  const uint8_t *third = in, *codes = in + 32, *scales = in + 96;
  const float d = load_half(in + 108);
  for (int part = 0; part < 16; ++part) {
    const int low = (scales[part % 8] >> (4 * (part / 8))) & 15;
    const int high = (scales[8 + part % 4] >> (2 * (part / 4))) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int i = 16 * part; i < 16 * part + 16; ++i) {
      // A set third bit means that nothing is taken away.
      const int less = (third[i % 32] >> (i / 32)) & 1 ? 0 : 4;
      out[i] = scale * static_cast<float>(two_bits(codes, i) - less);
    }
  }
}

void q4_k(const uint8_t* in, float* out) {
  const float d = load_half(in), dmin = load_half(in + 2);
  for (int part = 0; part < 8; ++part) {
    const float scale = d * static_cast<float>(part_scale(in + 4, part));
    const float minimum = dmin * static_cast<float>(part_minimum(in + 4, part));
    for (int i = 32 * part; i < 32 * part + 32; ++i)
      out[i] = scale * static_cast<float>(four_bits(in + 16, i)) - minimum;
  }
}

void q5_k(const uint8_t* in, float* out) {
  const float d = load_half(in), dmin = load_half(in + 2);
  for (int part = 0; part < 8; ++part) {
    const float scale = d * static_cast<float>(part_scale(in + 4, part));
    const float minimum = dmin * static_cast<float>(part_minimum(in + 4, part));
    for (int i = 32 * part; i < 32 * part + 32; ++i) {
      const int q = four_bits(in + 48, i) | ((in[16 + i % 32] >> part) & 1) << 4;
      out[i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

// Four-bit parts: 64 bytes hold two runs of 64 elements.
void q6_k(const uint8_t* in, float* out) {
  const float d = load_half(in + 208);
  for (int i = 0; i < kSuper; ++i) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(in[192 + i / 16]));
    const int low = (in[i / 128 * 64 + i % 64] >> (4 * (i / 64 % 2))) & 15;
    const int q = (low | two_bits(in + 128, i) << 4) - 32;
    out[i] = scale * static_cast<float>(q);
  }
}

constexpr BlockCodec kCodecs[] = {
    {Format::q2_k, decode_each<q2_k, kSuper, 84>},  {Format::q3_k, decode_each<q3_k, kSuper, 110>},
    {Format::q4_k, decode_each<q4_k, kSuper, 144>}, {Format::q5_k, decode_each<q5_k, kSuper, 176>},
    {Format::q6_k, decode_each<q6_k, kSuper, 210>},
};

}  // namespace

std::span<const BlockCodec> k_codecs() {
  return kCodecs;
}

}  // namespace smidgen
