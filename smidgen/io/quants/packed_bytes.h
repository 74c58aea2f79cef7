// Numbers inside a block, at any alignment.
#pragma once

#include <cstdint>
#include <cstring>

#include "smidgen/io/dequantise.h"

namespace smidgen {

inline uint16_t load_u16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

inline uint32_t load_u32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

inline float load_half(const uint8_t* bytes) {
  return f16_to_f32(load_u16(bytes));
}

inline void store_half(uint8_t* bytes, float value) {
  const uint16_t half = f32_to_f16(value);
  std::memcpy(bytes, &half, sizeof half);
}

// Code i of a list of four-bit codes.
inline int nibble(const uint8_t* bytes, int i) {
  return (bytes[i / 2] >> (4 * (i % 2))) & 15;
}

}  // namespace smidgen
