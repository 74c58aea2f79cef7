#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase nearswap(Values base, Values other, double t) {
  return {.method = "nearswap",
          .inputs = {std::move(other)},
          .base = std::move(base),
          .shared = {{"t", t}}};
}

TEST(NearswapMerge, MovesByAtMostT) {
  EXPECT_EQ(merged(nearswap({0, 0, 0, 1}, {.25f, .5f, -8, 1}, .5)), (Values{.25f, .5f, -.5f, 1}));
}

TEST(NearswapMerge, NothingMovesAtZeroOrBelow) {
  const Values a = normal_values(70001, 1), b = normal_values(70001, 2);
  EXPECT_EQ(merged(nearswap(a, b, 0)), a);
  EXPECT_EQ(merged(nearswap(a, b, -1)), a);
  EXPECT_EQ(merged(nearswap(a, b, 100)), b);
}

TEST(NearswapMerge, DistancesBelowAMillionthCountAsOne) {
  const float got = merged(nearswap({0}, {1e-7f}, 5e-7))[0];
  EXPECT_NEAR(got, .5e-7, 1e-13);
}

}  // namespace
}  // namespace smidgen
