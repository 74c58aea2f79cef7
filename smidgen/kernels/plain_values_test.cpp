#include "smidgen/kernels/plain_values.h"

#include <bit>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/quantise.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

class PlainValues : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

std::vector<float> drawn(size_t n, uint64_t seed) {
  const Rng rng(seed, "plain values");
  std::vector<float> made(n);
  for (size_t k = 0; k < n; ++k) made[k] = static_cast<float>(rng.normal(k));
  return made;
}

// All 65536 halves of both kinds, from an odd address, in lengths with every remainder.
TEST_P(PlainValues, ReadEveryHalfAsTheReferenceDoes) {
  for (const Format format : {Format::bf16, Format::f16}) {
    std::vector<std::byte> bytes(1 + 2 * 65536);
    for (uint32_t k = 0; k < 65536; ++k) {
      const auto bits = static_cast<uint16_t>(k);
      std::memcpy(bytes.data() + 1 + 2 * k, &bits, 2);
    }
    for (const int64_t n : {65536, 65535, 65529, 7, 1}) {
      std::vector<float> got(static_cast<size_t>(n)), wanted(static_cast<size_t>(n));
      read_values(format, bytes.data() + 1, n, got.data());
      to_f32(format, bytes.data() + 1, n, wanted.data());
      for (size_t k = 0; k < got.size(); ++k) {
        if (std::isnan(wanted[k])) {
          ASSERT_TRUE(std::isnan(got[k])) << k;
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(got[k]), std::bit_cast<uint32_t>(wanted[k])) << k;
        }
      }
    }
  }
}

TEST_P(PlainValues, WriteWhatTheReferenceWrites) {
  std::vector<float> values = drawn(1003, 1);
  values[5] = 0x1.01p0f;  // half-way between two bf16 numbers
  values[6] = 0x1.03p0f;
  values[7] = NAN;
  values[8] = -INFINITY;
  values[9] = 1e-42f;
  for (const Format format : {Format::bf16, Format::f32, Format::f16}) {
    const size_t size = static_cast<size_t>(info(format).bytes) * values.size();
    std::vector<std::byte> got(size), wanted(size);
    write_values(format, 1003, values.data(), got.data(), "w");
    from_f32(format, values, wanted, "w");
    EXPECT_EQ(got, wanted) << to_string(format);
  }
}

TEST_P(PlainValues, FindWhatIsNoNumber) {
  std::vector<float> x = drawn(67, 2);
  EXPECT_TRUE(all_finite(67, x.data()));
  EXPECT_TRUE(all_finite(0, x.data()));
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const size_t at : {0, 31, 66}) {
      const float kept = std::exchange(x[at], bad);
      EXPECT_FALSE(all_finite(67, x.data())) << at;
      x[at] = kept;
    }
  }
  x[3] = std::numeric_limits<float>::max();
  EXPECT_TRUE(all_finite(67, x.data()));
}

TEST_P(PlainValues, MeasureAndCount) {
  const auto a = drawn(10007, 3), r = drawn(10007, 4);
  auto b = a;
  for (size_t k = 0; k < b.size(); k += 3) b[k] += 1;
  EXPECT_EQ(count_different(10007, a.data(), b.data()), (10007 + 2) / 3);
  const double wanted = squared_distance_ref(10007, a.data(), r.data());
  EXPECT_NEAR(squared_distance(10007, a.data(), r.data()) / wanted, 1, 1e-6);
  const auto c = drawn(10007, 5);
  int64_t disputed = 0;
  for (size_t k = 0; k < a.size(); ++k) disputed += (a[k] > r[k]) != (c[k] > r[k]);
  const float* const both[] = {a.data(), c.data()};
  EXPECT_EQ(count_disputed(10007, both, r.data()), disputed);
  const float* const same[] = {a.data(), a.data()};
  EXPECT_EQ(count_disputed(10007, same, r.data()), 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, PlainValues, testing::ValuesIn(kernel_targets()));

}  // namespace
}  // namespace smidgen
