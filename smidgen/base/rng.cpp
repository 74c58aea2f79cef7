#include "smidgen/base/rng.h"

#include <cmath>
#include <numbers>

#include "smidgen/base/error.h"

namespace smidgen {

PhiloxBlock philox(PhiloxBlock counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMul0 * counter[0], p1 = kMul1 * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

uint64_t hash_name(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

Rng::Rng(uint64_t seed, std::string_view purpose, uint64_t step, std::string_view site)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)} {
  // Purpose, step and site pick the upper half of the counter. Mixing them through the bijection
  // itself makes neighbouring steps and similar names land in unrelated streams.
  const uint64_t name = hash_name(purpose) ^ (hash_name(site) * 0x9E3779B97F4A7C15ull);
  const PhiloxBlock mixed = philox({static_cast<uint32_t>(name), static_cast<uint32_t>(name >> 32),
                                    static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32)},
                                   key_);
  stream_ = mixed[0] | static_cast<uint64_t>(mixed[1]) << 32;
}

PhiloxBlock Rng::block(uint64_t element) const {
  return philox({static_cast<uint32_t>(element), static_cast<uint32_t>(element >> 32),
                 static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                key_);
}

uint32_t Rng::bits(uint64_t element) const {
  return block(element)[0];
}

double Rng::uniform(uint64_t element) const {
  const PhiloxBlock b = block(element);
  return static_cast<double>((b[0] | static_cast<uint64_t>(b[1]) << 32) >> 11) * 0x1p-53;
}

double Rng::normal(uint64_t element) const {
  const PhiloxBlock b = block(element);
  const double u =
      (static_cast<double>((b[0] | static_cast<uint64_t>(b[1]) << 32) >> 11) + 1.0) * 0x1p-53;
  const double v = static_cast<double>((b[2] | static_cast<uint64_t>(b[3]) << 32) >> 11) * 0x1p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t Rng::below(uint64_t element, uint64_t bound) const {
  SMIDGEN_ASSERT(bound > 0);
  const PhiloxBlock b = block(element);
  const uint64_t word = b[0] | static_cast<uint64_t>(b[1]) << 32;
  return static_cast<uint64_t>((static_cast<unsigned __int128>(word) * bound) >> 64);
}

Permutation::Permutation(uint64_t n, uint64_t seed, std::string_view purpose, uint64_t epoch)
    : n_(n), half_bits_(1), rng_(seed, purpose, epoch) {
  SMIDGEN_ASSERT(n > 0 && n <= (uint64_t{1} << 60));
  while ((uint64_t{1} << (2 * half_bits_)) < n) ++half_bits_;
  key_ = rng_.bits(~uint64_t{0}) | static_cast<uint64_t>(rng_.bits(~uint64_t{1})) << 32;
}

uint64_t Permutation::operator()(uint64_t position) const {
  SMIDGEN_ASSERT(position < n_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = position;
  do {
    uint64_t left = value >> half_bits_, right = value & mask;
    for (uint32_t round = 0; round < 6; ++round) {
      const PhiloxBlock mixed = philox(
          {static_cast<uint32_t>(right), static_cast<uint32_t>(right >> 32), round, half_bits_},
          {static_cast<uint32_t>(key_), static_cast<uint32_t>(key_ >> 32)});
      const uint64_t next = left ^ ((mixed[0] | static_cast<uint64_t>(mixed[1]) << 32) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= n_);
  return value;
}

}  // namespace smidgen
