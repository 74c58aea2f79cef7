// Three values an element; 256 of them share one half d. x = (q - 1) d.
//   tq1_0  five digits of base 3 in a byte: 32 bytes, 16 bytes, then 4 bytes of four digits, d
//   tq2_0  two bits an element: 64 bytes, d
#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/packed_bytes.h"

namespace smidgen {
namespace {

// A byte holds ceil(256 n / 243) for the number n with five digits of base 3: digit k is the whole
// part of three times the fraction that is left after k digits, with 256 as the unit.
int digit(uint8_t byte, int k) {
  constexpr int kPower[] = {1, 3, 9, 27, 81};
  return (static_cast<uint8_t>(byte * kPower[k]) * 3) >> 8;
}

void tq1_0(const uint8_t* in, float* out) {
  const float d = load_half(in + 52);
  const auto run = [&](const uint8_t* bytes, int width, int digits) {
    for (int k = 0; k < digits; ++k) {
      for (int i = 0; i < width; ++i) *out++ = static_cast<float>(digit(bytes[i], k) - 1) * d;
    }
  };
  run(in, 32, 5);
  run(in + 32, 16, 5);
  run(in + 48, 4, 4);
}

void tq2_0(const uint8_t* in, float* out) {
  const float d = load_half(in + 64);
  for (int i = 0; i < 256; ++i) {
    const int q = (in[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
    out[i] = static_cast<float>(q - 1) * d;
  }
}

constexpr BlockCodec kCodecs[] = {
    {Format::tq1_0, decode_each<tq1_0, 256, 54>},
    {Format::tq2_0, decode_each<tq2_0, 256, 66>},
};

}  // namespace

std::span<const BlockCodec> ternary_codecs() {
  return kCodecs;
}

}  // namespace smidgen
