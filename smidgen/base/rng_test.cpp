#include "smidgen/base/rng.h"

#include <cmath>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace smidgen {
namespace {

// The known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// FNV-1a test values of the algorithm's authors.
TEST(HashName, KnownAnswers) {
  EXPECT_EQ(hash_name(""), 0xcbf29ce484222325ull);
  EXPECT_EQ(hash_name("a"), 0xaf63dc4c8601ec8cull);
  EXPECT_EQ(hash_name("foobar"), 0x85944171f73967e8ull);
}

TEST(Rng, IsAFunctionOfAllItsKeys) {
  const Rng base(1, "init", 2, "q_proj");
  EXPECT_EQ(base.bits(5), Rng(1, "init", 2, "q_proj").bits(5));
  std::set<uint32_t> seen = {base.bits(5),
                             base.bits(6),
                             Rng(2, "init", 2, "q_proj").bits(5),
                             Rng(uint64_t{1} << 32 | 1, "init", 2, "q_proj").bits(5),
                             Rng(1, "data", 2, "q_proj").bits(5),
                             Rng(1, "init", 3, "q_proj").bits(5),
                             Rng(1, "init", 2, "k_proj").bits(5),
                             Rng(1, "q_proj", 2, "init").bits(5)};
  EXPECT_EQ(seen.size(), 8u);
}

struct Moments {
  double mean = 0, variance = 0, skew = 0, kurtosis = 0;
};

template <class Draw>
Moments moments(Draw draw, int n) {
  Moments m;
  for (int i = 0; i < n; ++i) m.mean += draw(i) / n;
  for (int i = 0; i < n; ++i) {
    const double d = draw(i) - m.mean;
    m.variance += d * d / n;
    m.skew += d * d * d / n;
    m.kurtosis += d * d * d * d / n;
  }
  m.skew /= std::pow(m.variance, 1.5);
  m.kurtosis /= m.variance * m.variance;
  return m;
}

// Bounds are five standard errors of n = 200000 independent draws.
TEST(Rng, Moments) {
  constexpr int n = 200000;
  const Rng rng(7, "moments");
  const double e = 5 / std::sqrt(static_cast<double>(n));
  const Moments normal = moments([&](int i) { return rng.normal(static_cast<uint64_t>(i)); }, n);
  EXPECT_NEAR(normal.mean, 0, e);
  EXPECT_NEAR(normal.variance, 1, e * std::sqrt(2.0));
  EXPECT_NEAR(normal.skew, 0, e * std::sqrt(6.0));
  EXPECT_NEAR(normal.kurtosis, 3, e * std::sqrt(24.0));
  const Moments uniform = moments([&](int i) { return rng.uniform(static_cast<uint64_t>(i)); }, n);
  EXPECT_NEAR(uniform.mean, 0.5, e * std::sqrt(1.0 / 12));
  EXPECT_NEAR(uniform.variance, 1.0 / 12, e * std::sqrt(1.0 / 180));
  EXPECT_NEAR(uniform.kurtosis, 1.8, 0.02);
  // Neighbours are not correlated.
  double product = 0;
  for (int i = 0; i < n; ++i)
    product += rng.normal(static_cast<uint64_t>(i)) * rng.normal(static_cast<uint64_t>(i) + 1) / n;
  EXPECT_NEAR(product, 0, e);
}

TEST(Rng, BelowIsEvenAndInRange) {
  const Rng rng(3, "below");
  std::vector<int> count(7);
  for (uint64_t i = 0; i < 70000; ++i) ++count.at(rng.below(i, 7));
  double chi = 0;
  for (const int c : count) chi += (c - 10000.0) * (c - 10000.0) / 10000.0;
  EXPECT_LT(chi, 22.46);  // 0.999 quantile with 6 degrees of freedom
  for (uint64_t i = 0; i < 100; ++i) EXPECT_LT(rng.uniform(i), 1.0);
}

TEST(Permutation, IsABijection) {
  for (const uint64_t n : {1u, 2u, 3u, 4u, 5u, 16u, 17u, 1000u, 4097u}) {
    const Permutation order(n, 11, "shuffle", 0);
    std::vector<bool> hit(n);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t at = order(i);
      ASSERT_LT(at, n);
      EXPECT_FALSE(hit[at]) << n;
      hit[at] = true;
    }
  }
}

TEST(Permutation, EpochsDifferAndMix) {
  constexpr uint64_t n = 1000;
  const Permutation first(n, 11, "shuffle", 0), second(n, 11, "shuffle", 1);
  uint64_t fixed = 0, same = 0;
  double distance = 0;
  for (uint64_t i = 0; i < n; ++i) {
    fixed += first(i) == i;
    same += first(i) == second(i);
    distance += std::fabs(static_cast<double>(first(i)) - static_cast<double>(i)) / n;
  }
  EXPECT_LT(fixed, 10u);  // one is expected
  EXPECT_LT(same, 10u);
  EXPECT_NEAR(distance, n / 3.0, 40);  // E|a-b| of two uniforms
}

}  // namespace
}  // namespace smidgen
