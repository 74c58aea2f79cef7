// Four bits an element that index a list of 16 values.
//   iq4_nl  32: d, 16 bytes;                                        x = d v[q]
//   iq4_xs  256: d, 16 upper bits of scales, 4 bytes, 128 bytes;    x = (d (sc - 32)) v[q]
//   mxfp4   32: a power of two (8 bits of exponent), 16 bytes;      x = d e[q]
//   nvfp4   64: four scales (unsigned e4m3), 32 bytes;              x = d e[q]
// v are 16 unevenly spaced integers, e the values of a four-bit float (e2m1) doubled, and therefore
// the scales of the last two are halved. mxfp4: OCP microscaling formats 1.0.
#include <bit>

#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/packed_bytes.h"

namespace smidgen {
namespace {

constexpr int8_t kUneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
constexpr int8_t kE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// `half` bytes: their low nibbles, then their high ones.
void look_up(const uint8_t* bytes, int half, const int8_t* values, float d, float* out) {
  for (int i = 0; i < half; ++i) {
    out[i] = d * static_cast<float>(values[bytes[i] & 15]);
    out[i + half] = d * static_cast<float>(values[bytes[i] >> 4]);
  }
}

void iq4_nl(const uint8_t* in, float* out) {
  look_up(in + 2, 16, kUneven, load_half(in), out);
}

void iq4_xs(const uint8_t* in, float* out) {
  const float d = load_half(in);
  const uint16_t upper = load_u16(in + 2);
  for (int part = 0; part < 8; ++part) {
    const int scale = nibble(in + 4, part) | ((upper >> (2 * part)) & 3) << 4;
    look_up(in + 8 + 16 * part, 16, kUneven, d * static_cast<float>(scale - 32), out + 32 * part);
  }
}

// 2^(e - 128), which is a subnormal for the two smallest.
void mxfp4(const uint8_t* in, float* out) {
  const uint32_t e = in[0];
  const float d = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  look_up(in + 1, 16, kE2m1, d, out);
}

float unsigned_e4m3(uint8_t bits) {
  if (bits == 0 || bits == 0x7f) return 0;
  const uint32_t exponent = (bits >> 3) & 15, fraction = bits & 7;
  return exponent == 0 ? static_cast<float>(fraction) * 0x1p-9f
                       : std::bit_cast<float>(((exponent + 120) << 23) | (fraction << 20));
}

void nvfp4(const uint8_t* in, float* out) {
  for (int part = 0; part < 4; ++part)
    look_up(in + 4 + 8 * part, 8, kE2m1, unsigned_e4m3(in[part]) * 0.5f, out + 16 * part);
}

constexpr BlockCodec kCodecs[] = {
    {Format::iq4_nl, decode_each<iq4_nl, 32, 18>},
    {Format::iq4_xs, decode_each<iq4_xs, 256, 136>},
    {Format::mxfp4, decode_each<mxfp4, 32, 17>},
    {Format::nvfp4, decode_each<nvfp4, 64, 36>},
};

}  // namespace

std::span<const BlockCodec> float4_codecs() {
  return kCodecs;
}

}  // namespace smidgen
