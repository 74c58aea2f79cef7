// Super-blocks of 256 whose elements come as vectors of 8 (iq1, iq2) or 4 (iq3) out of a list, with
// signs beside them. Which vectors a list holds is part of the format (codebook_data.h).
//   iq2_xxs  d, 8 x {4 indices of 8 bits, 4 x 7 signs, scale};      x = (d (1/2 + sc) / 4) v s
//   iq2_xs   d, 32 x {index of 9 bits, 7 signs}, 16 scales of 4 bits;        as iq2_xxs
//   iq2_s    d, 32 index bytes, 32 sign bytes, 8 bytes of upper bits, 16 scales;  as iq2_xxs
//   iq3_xxs  d, 64 index bytes, 8 x {4 x 7 signs, scale};           x = (d (1/2 + sc) / 2) v s
//   iq3_s    d, 64 index bytes, 8 bytes of ninth bits, 32 sign bytes, 8 scales;  x = (d (1 + 2 sc))
//   v s iq1_s    d, 32 index bytes, 8 x {4 x 3 upper bits, scale, sign of delta};  x = (d (2 sc +
//   1)) (v + delta) iq1_m    32 index bytes, 16 bytes of upper bits and signs of delta, 16 scales
//   and d;  as iq1_s
// Seven signs mean eight: the number of minus signs is even. delta is 1/8 up or down.
#include <bit>

#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/codebook_data.h"
#include "smidgen/io/quants/packed_bytes.h"

namespace smidgen {
namespace {

// Elements of a list: codes of kBits packed from the lowest bit on, each standing for map[code].
template <int kBits>
float entry(const uint8_t* list, const int8_t* map, int index) {
  constexpr int kPerByte = 8 / kBits;
  return static_cast<float>(
      map[(list[index / kPerByte] >> (kBits * (index % kPerByte))) & ((1 << kBits) - 1)]);
}

constexpr int8_t kIq2[] = {8, 25, 43, 0}, kIq1[] = {-1, 0, 1, 0};
constexpr int8_t kIq3Xxs[16] = {4, 12, 20, 28, 36, 44, 52, 62},
                 kIq3S[16] = {1, 3, 5, 7, 9, 11, 13, 15};

uint8_t eight_signs(uint32_t seven) {
  return static_cast<uint8_t>(seven | static_cast<uint32_t>(std::popcount(seven) & 1) << 7);
}

float signed_by(float value, uint8_t signs, int i) {
  return value * ((signs >> i) & 1 ? -1.0f : 1.0f);
}

// Vector `index` of eight, times the scale, with signs.
void iq2_vector(const uint8_t* list, int index, float scale, uint8_t signs, float* out) {
  for (int i = 0; i < 8; ++i)
    out[i] = signed_by(scale * entry<2>(list, kIq2, 8 * index + i), signs, i);
}

float iq2_scale(float d, uint32_t scale) {
  return d * (0.5f + static_cast<float>(scale)) * 0.25f;
}

void iq2_xxs(const uint8_t* in, float* out) {
  const float d = load_half(in);
  for (int part = 0; part < 8; ++part) {
    const uint8_t* indices = in + 2 + 8 * part;
    const uint32_t rest = load_u32(indices + 4);
    for (int k = 0; k < 4; ++k) {
      iq2_vector(kIq2XxsList, indices[k], iq2_scale(d, rest >> 28),
                 eight_signs((rest >> (7 * k)) & 127), out + 32 * part + 8 * k);
    }
  }
}

void iq2_xs(const uint8_t* in, float* out) {
  const float d = load_half(in);
  for (int k = 0; k < 32; ++k) {
    const uint32_t both = load_u16(in + 2 + 2 * k);
    const auto scale = static_cast<uint32_t>(nibble(in + 66, k / 2));
    iq2_vector(kIq2XsList, both & 511, iq2_scale(d, scale), eight_signs(both >> 9), out + 8 * k);
  }
}

void iq2_s(const uint8_t* in, float* out) {
  const float d = load_half(in);
  const uint8_t *low = in + 2, *signs = in + 34, *high = in + 66, *scales = in + 74;
  for (int k = 0; k < 32; ++k) {
    const int index = low[k] | ((high[k / 4] >> (2 * (k % 4))) & 3) << 8;
    const auto scale = static_cast<uint32_t>(nibble(scales, k / 2));
    iq2_vector(kIq2SList, index, iq2_scale(d, scale), signs[k], out + 8 * k);
  }
}

void iq3_xxs(const uint8_t* in, float* out) {
  const float d = load_half(in);
  for (int k = 0; k < 64; ++k) {
    const uint32_t rest = load_u32(in + 66 + 4 * (k / 8));
    const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
    const uint8_t signs = eight_signs((rest >> (7 * (k / 2 % 4))) & 127);
    for (int i = 0; i < 4; ++i) {
      const float value = entry<4>(kIq3XxsList, kIq3Xxs, 4 * in[2 + k] + i);
      out[4 * k + i] = signed_by(scale * value, signs, 4 * (k % 2) + i);
    }
  }
}

void iq3_s(const uint8_t* in, float* out) {
  const float d = load_half(in);
  const uint8_t *low = in + 2, *ninth = in + 66, *signs = in + 74, *scales = in + 106;
  for (int k = 0; k < 64; ++k) {
    const int index = low[k] | ((ninth[k / 8] >> (k % 8)) & 1) << 8;
    const float scale = d * static_cast<float>(1 + 2 * nibble(scales, k / 8));
    for (int i = 0; i < 4; ++i) {
      const float value = entry<4>(kIq3SList, kIq3S, 4 * index + i);
      out[4 * k + i] = signed_by(scale * value, signs[k / 2], 4 * (k % 2) + i);
    }
  }
}

void iq1_vector(int index, float scale, bool down, float* out) {
  for (int i = 0; i < 8; ++i)
    out[i] = scale * (entry<2>(kIq1List, kIq1, 8 * index + i) + (down ? -0.125f : 0.125f));
}

void iq1_s(const uint8_t* in, float* out) {
  const float d = load_half(in);
  for (int k = 0; k < 32; ++k) {
    const uint32_t rest = load_u16(in + 34 + 2 * (k / 4));
    const int index = in[2 + k] | static_cast<int>((rest >> (3 * (k % 4))) & 7) << 8;
    iq1_vector(index, d * static_cast<float>(2 * ((rest >> 12) & 7) + 1), rest & 0x8000,
               out + 8 * k);
  }
}

void iq1_m(const uint8_t* in, float* out) {
  const uint8_t *low = in, *high = in + 32, *scales = in + 48;
  // The half is spread over the upper four bits of four 16-bit groups of scales.
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i)
    bits |= static_cast<uint32_t>(load_u16(scales + 2 * i) >> 12) << (4 * i);
  const float d = f16_to_f32(static_cast<uint16_t>(bits));
  for (int k = 0; k < 32; ++k) {
    const int upper = nibble(high, k), part = k / 2;
    const int scale = (load_u16(scales + 2 * (part / 4)) >> (3 * (part % 4))) & 7;
    iq1_vector(low[k] | (upper & 7) << 8, d * static_cast<float>(2 * scale + 1), upper & 8,
               out + 8 * k);
  }
}

constexpr BlockCodec kCodecs[] = {
    {Format::iq2_xxs, decode_each<iq2_xxs, 256, 66>},
    {Format::iq2_xs, decode_each<iq2_xs, 256, 74>},
    {Format::iq2_s, decode_each<iq2_s, 256, 82>},
    {Format::iq3_xxs, decode_each<iq3_xxs, 256, 98>},
    {Format::iq3_s, decode_each<iq3_s, 256, 110>},
    {Format::iq1_s, decode_each<iq1_s, 256, 50>},
    {Format::iq1_m, decode_each<iq1_m, 256, 56>},
};

}  // namespace

std::span<const BlockCodec> codebook_codecs() {
  return kCodecs;
}

}  // namespace smidgen
