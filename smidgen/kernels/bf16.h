// Brain floating point: the upper half of an IEEE 754 single.
#pragma once

#include <bit>
#include <cstdint>

namespace smidgen {

struct Bf16 {
  uint16_t bits = 0;
};

inline float to_float(Bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
inline float to_float(float x) {
  return x;
}

// Round to nearest, ties to even; every NaN becomes the quiet one, as in torch.
inline Bf16 to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

inline void store(float value, float* out) {
  *out = value;
}
inline void store(float value, Bf16* out) {
  *out = to_bf16(value);
}

}  // namespace smidgen
