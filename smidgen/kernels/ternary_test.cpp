#include "smidgen/kernels/ternary.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

struct Case {
  std::vector<uint64_t> positive, negative;
  std::vector<float> x;

  Case(int64_t n, uint64_t seed)
      : positive(static_cast<size_t>((n + 63) / 64)), negative(positive) {
    const Rng rng(seed, "ternary");
    for (int64_t i = 0; i < n; ++i) {
      const auto e = static_cast<uint64_t>(i);
      x.push_back(static_cast<float>(rng.normal(2 * e)));
      const double draw = rng.uniform(2 * e + 1);
      if (draw < 0.6) (draw < 0.3 ? positive : negative)[e / 64] |= uint64_t{1} << (e % 64);
    }
  }
};

class Ternary : public testing::TestWithParam<std::string> {
 protected:
  Ternary() { force_kernel_target(GetParam()); }
  ~Ternary() override { force_kernel_target(""); }
};

TEST_P(Ternary, EqualsTheReference) {
  for (const int64_t n : {1, 3, 63, 64, 65, 100, 1000, 4096, 4097}) {
    const Case a(n, 1), b(n, 2);
    // What follows the end must stay.
    std::vector<float> y = a.x, expected = a.x;
    y.push_back(42);
    ternary_add(n, a.positive.data(), a.negative.data(), 0.7f, y.data());
    ternary_add_ref(n, a.positive.data(), a.negative.data(), 0.7f, expected.data());
    EXPECT_EQ(y.back(), 42);
    y.pop_back();
    EXPECT_EQ(y, expected) << n;
    double size = 0;
    for (const float x : a.x) size += std::fabs(x);
    EXPECT_NEAR(ternary_sum(n, b.positive.data(), b.negative.data(), a.x.data()),
                ternary_sum_ref(n, b.positive.data(), b.negative.data(), a.x.data()), 1e-6 * size)
        << n;
    // Four vectors one after the other, each with a value between that must not be read.
    std::vector<float> four;
    for (int r = 0; r < 4; ++r) {
      for (const float x : a.x) four.push_back(x * static_cast<float>(r + 1));
      four.push_back(1e30f);
    }
    float sums[4];
    ternary_sum4(n, b.positive.data(), b.negative.data(), four.data(), n + 1, sums);
    for (int r = 0; r < 4; ++r) {
      EXPECT_NEAR(sums[r],
                  ternary_sum_ref(n, b.positive.data(), b.negative.data(),
                                  four.data() + static_cast<size_t>(r) * (a.x.size() + 1)),
                  4e-6 * size)
          << n << " " << r;
    }
    const auto words = static_cast<int64_t>(a.positive.size());
    EXPECT_EQ(ternary_dot(words, a.positive.data(), a.negative.data(), b.positive.data(),
                          b.negative.data()),
              ternary_dot_ref(words, a.positive.data(), a.negative.data(), b.positive.data(),
                              b.negative.data()))
        << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Ternary, testing::ValuesIn(kernel_targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smidgen
