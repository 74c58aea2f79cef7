// Counter-based randomness: every number is a pure function of (seed, purpose, step, site,
// element), so there is no generator state to save and no order in which numbers must be drawn.
// Philox 4x32-10, Salmon et al. 2011 (doi:10.1145/2063384.2063405).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace smidgen {

using PhiloxBlock = std::array<uint32_t, 4>;

// The raw bijection: ten rounds over a 128-bit counter with a 64-bit key.
PhiloxBlock philox(PhiloxBlock counter, std::array<uint32_t, 2> key);

// One independent stream per (seed, purpose, step, site); element i of it costs O(1).
class Rng {
 public:
  Rng(uint64_t seed, std::string_view purpose, uint64_t step = 0, std::string_view site = {});

  uint32_t bits(uint64_t element) const;
  double uniform(uint64_t element) const;  // [0, 1), 53 bits
  double normal(uint64_t element)
      const;  // N(0, 1) by Box-Muller over two uniforms of the element's own block
  uint64_t below(uint64_t element, uint64_t bound) const;  // [0, bound), bias under 2^-64 * bound
  PhiloxBlock block(uint64_t element) const;  // the four words that the others draw from

 private:
  std::array<uint32_t, 2> key_;
  uint64_t stream_;
};

// A keyed permutation of 0..n-1 whose value at any position costs O(1): a Feistel network over the
// next even power of two, walked until it lands inside. Shuffles data without a table, so a loader
// resumes at once.
class Permutation {
 public:
  Permutation(uint64_t n, uint64_t seed, std::string_view purpose, uint64_t epoch);
  uint64_t operator()(uint64_t position) const;
  uint64_t size() const { return n_; }

 private:
  uint64_t n_;
  unsigned half_bits_;
  Rng rng_;
  uint64_t key_;
};

// 64-bit FNV-1a, for turning names into keys (not for anything that must resist an attacker).
uint64_t hash_name(std::string_view text);

}  // namespace smidgen
