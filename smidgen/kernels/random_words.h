// Many random numbers at once.
#pragma once

#include <cstdint>
#include <span>

#include "smidgen/base/rng.h"

namespace smidgen {

// 32 random bits for each index, the same on every target: word i % 4 of the Philox block i / 4.
// Block 0 of `rng` is the key (two words) and the upper half of the counter.
class RandomWords {
 public:
  explicit RandomWords(const Rng& rng) : key_(rng.block(0)) {}

  uint32_t at(uint64_t index) const;
  // out[i] = at(first + i), several in the time of one.
  void fill(uint64_t first, std::span<uint32_t> out) const;

 private:
  PhiloxBlock key_;
};

}  // namespace smidgen
