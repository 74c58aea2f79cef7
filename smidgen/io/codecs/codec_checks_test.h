// Laws that hold for every codec; each codec's own test calls them and adds its numbers.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/io/codecs/blocks.h"
#include "smidgen/io/codecs/rice.h"

namespace smidgen {

// Each element is kept with probability p, its sign is fair.
inline Signs random_signs(int64_t count, double p, uint64_t seed = 1, double negative = 0.5) {
  const Rng rng(seed, "signs");
  Signs signs(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto element = static_cast<uint64_t>(i);
    if (rng.uniform(2 * element) >= p) continue;
    auto& mask = rng.uniform(2 * element + 1) < negative ? signs.negative : signs.positive;
    mask[element / 64] |= uint64_t{1} << (element % 64);
  }
  return signs;
}

inline Payload bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline void expect_same(const Signs& a, const Signs& b, const std::string& what) {
  EXPECT_TRUE(a.positive == b.positive && a.negative == b.negative) << what;
}

// Comes back to the bit at any density and length; a changed length is noticed; cut or changed
// bytes never do harm.
inline void check_sign_codec(const std::string& name) {
  const SignCodec& codec = *codecs().find(name).signs();
  ASSERT_FALSE(codecs().find(name).values());
  for (const int64_t count :
       {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{63}, int64_t{64}, int64_t{65}, int64_t{1000},
        int64_t{40'003}, kSignBlock, kSignBlock + 1, 2 * kSignBlock + 777}) {
    for (const double p : {0.0, 1e-4, 0.01, 0.05, 0.2, 0.3, 0.5, 0.9, 1.0}) {
      for (const double negative : {0.0, 0.5, 1.0}) {
        const std::string what = str(name, " d=", count, " p=", p, " negative=", negative);
        const Signs signs = random_signs(count, p, 7, negative);
        const std::string coded = encode_signs(codec, signs.view());
        expect_same(SignBlocks(codec, bytes_of(coded), count, "x").decode(), signs, what);
        EXPECT_THROW(SignBlocks(codec, bytes_of(coded + '\1'), count, "x").decode(), Error) << what;
        if (coded.empty()) continue;
        EXPECT_THROW(
            SignBlocks(codec, bytes_of(coded).first(coded.size() - 1), count, "x").decode(), Error)
            << what;
      }
    }
  }
  // Only the last element.
  for (const int64_t count : {int64_t{1}, int64_t{777}, kSignBlock, kSignBlock + 1}) {
    Signs signs(count);
    signs.negative.back() = uint64_t{1} << ((count - 1) % 64);
    const std::string coded = encode_signs(codec, signs.view());
    expect_same(SignBlocks(codec, bytes_of(coded), count, "x").decode(), signs, "last");
  }
  // Damage: an Error, or other signs that are well formed.
  const Signs signs = random_signs(3000, 0.2);
  const std::string coded = encode_signs(codec, signs.view());
  for (size_t i = 0; i < coded.size(); ++i) {
    for (const int flip : {1, 0x80, 0xff}) {
      std::string damaged = coded;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      try {
        const Signs read = SignBlocks(codec, bytes_of(damaged), 3000, "x").decode();
        for (size_t w = 0; w < read.positive.size(); ++w)
          ASSERT_EQ(read.positive[w] & read.negative[w], 0u) << name << " byte " << i;
        ASSERT_EQ((read.positive.back() | read.negative.back()) >> (3000 % 64), 0u);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::format);
        EXPECT_EQ(error.where(), "x");
      }
    }
  }
}

// Bits of the code per element of 2^20 with density p.
inline double bits_per_element(const std::string& name, double p) {
  constexpr int64_t kCount = 1 << 20;
  const Signs signs = random_signs(kCount, p, 3);
  return 8.0 *
         static_cast<double>(encode_signs(*codecs().find(name).signs(), signs.view()).size()) /
         kCount;
}

inline std::vector<float> random_row(int64_t count, double scale, uint64_t seed = 1) {
  const Rng rng(seed, "row");
  std::vector<float> row(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    row[static_cast<size_t>(i)] = static_cast<float>(scale * rng.normal(static_cast<uint64_t>(i)));
  return row;
}

inline std::vector<float> round_trip(const std::string& name, const std::vector<float>& row) {
  const ValueCodec& codec = *codecs().find(name).values();
  const auto size = static_cast<size_t>(codec.row_bytes(static_cast<int64_t>(row.size())));
  // A byte more shows a codec that writes past its row.
  std::vector<std::byte> bytes(size + 1, std::byte{0x5a});
  codec.encode(row, bytes.data());
  EXPECT_EQ(bytes.back(), std::byte{0x5a});
  std::vector<float> out(row.size());
  codec.decode(bytes.data(), out, "x");
  return out;
}

}  // namespace smidgen
