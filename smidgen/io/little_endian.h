// Numbers in the byte order of every format here, from and to memory of any alignment.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>

namespace smidgen {

static_assert(std::endian::native == std::endian::little,
              "mapped tensors are read in place, so the machine must be little-endian");

template <class Number>
Number load(const std::byte* bytes) {
  Number value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <class Number>
void append_bytes(std::string& out, Number value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

}  // namespace smidgen
