#include "smidgen/kernels/magnitude.h"

#include <bit>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

class Magnitudes : public testing::TestWithParam<std::string> {
 protected:
  Magnitudes() { force_kernel_target(GetParam()); }
  ~Magnitudes() override { force_kernel_target(""); }
};

// Rounded to a tenth, so that many equal the limits.
std::vector<float> values(int64_t n) {
  const Rng rng(1, "magnitudes");
  std::vector<float> x;
  for (int64_t i = 0; i < n; ++i)
    x.push_back(std::round(static_cast<float>(rng.normal(static_cast<uint64_t>(i))) * 10) / 10);
  return x;
}

TEST_P(Magnitudes, EqualTheReference) {
  for (const int64_t n : {0, 1, 7, 16, 63, 64, 65, 200, 4096, 5003}) {
    const std::vector<float> x = values(n);
    for (const auto& [low, high] : std::vector<std::pair<float, float>>{
             {0.0f, INFINITY}, {0.5f, 1.2f}, {0.3f, 0.3f}, {1.0f, std::nextafter(1.0f, 2.0f)}}) {
      std::vector<uint32_t> a(static_cast<size_t>(n) + 16), b(a.size());
      const auto from = std::bit_cast<uint32_t>(low), to = std::bit_cast<uint32_t>(high);
      const MagnitudeCount ours = count_magnitudes(n, x.data(), 0.25f, from, to, a.data());
      const MagnitudeCount theirs = count_magnitudes_ref(n, x.data(), 0.25f, from, to, b.data());
      EXPECT_EQ(ours.above, theirs.above) << n;
      ASSERT_EQ(ours.inside, theirs.inside) << n;
      EXPECT_TRUE(std::equal(a.begin(), a.begin() + ours.inside, b.begin())) << n;
      EXPECT_NEAR(ours.sum, theirs.sum, 1e-12 * static_cast<double>(n + 1));
      EXPECT_NEAR(ours.squares, theirs.squares, 1e-12 * static_cast<double>(n + 1));
    }
    for (const float threshold : {0.0f, 0.3f, 1.1f, INFINITY}) {
      const auto words = static_cast<size_t>((n + 63) / 64);
      std::vector<uint64_t> ours[3], theirs[3];
      for (int i = 0; i < 3; ++i) {
        ours[i].assign(words, ~uint64_t{0});
        theirs[i].assign(words, 0);
      }
      const double sum =
          mark_magnitudes(n, x.data(), threshold, ours[0].data(), ours[1].data(), ours[2].data());
      EXPECT_NEAR(sum,
                  mark_magnitudes_ref(n, x.data(), threshold, theirs[0].data(), theirs[1].data(),
                                      theirs[2].data()),
                  1e-12 * static_cast<double>(n + 1));
      for (int i = 0; i < 3; ++i) EXPECT_EQ(ours[i], theirs[i]) << n << " " << threshold;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Magnitudes, testing::ValuesIn(kernel_targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smidgen
