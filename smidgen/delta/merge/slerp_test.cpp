#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase slerp(Values base, Values other, double t) {
  return {.method = "slerp",
          .inputs = {std::move(other)},
          .base = std::move(base),
          .shared = {{"t", t}}};
}

TEST(SlerpMerge, WalksTheQuarterCircle) {
  for (const double t : {0.0, .25, .5, .9, 1.0}) {
    const double angle = t * std::acos(0.0);
    const Values expected = {static_cast<float>(3 * std::cos(angle)),
                             static_cast<float>(5 * std::sin(angle))};
    EXPECT_LT(relative_difference(merged(slerp({3, 0}, {0, 5}, t)), expected), 1e-7);
  }
}

TEST(SlerpMerge, EndsAreTheModelsToTheBit) {
  const Values a = normal_values(3'000'001, 1), b = normal_values(3'000'001, 2);
  EXPECT_EQ(merged(slerp(a, b, 0)), a);
  EXPECT_EQ(merged(slerp(a, b, 1)), b);
}

TEST(SlerpMerge, EqualModelsStayToTheBit) {
  const Values a = normal_values(70001, 1);
  EXPECT_EQ(merged(slerp(a, a, .3)), a);
}

TEST(SlerpMerge, IsStraightWhereNearlyParallelOrOpposite) {
  EXPECT_EQ(merged(slerp({1, 0}, {-1, .02f}, .25)), (Values{.5f, .005f}));
  EXPECT_EQ(merged(slerp({4, 0}, {8, 0}, .25)), (Values{5, 0}));
  // cos = 0.9988, still a circle
  EXPECT_GT(merged(slerp({1, 0}, {1, .05f}, .5))[0], 1.0001f);
}

TEST(SlerpMerge, TakesZerosAndNothing) {
  // The angle to zeros counts as a right one.
  EXPECT_LT(relative_difference(merged(slerp({0, 0}, {2, 4}, .5)),
                                {std::sqrt(2.0f), 2 * std::sqrt(2.0f)}),
            1e-7);
  EXPECT_EQ(merged(slerp({0, 0}, {0, 0}, .5)), (Values{0, 0}));
  EXPECT_EQ(merged({.method = "slerp", .inputs = {{}}, .shape = {0, 3}, .shared = {{"t", .5}}}),
            Values{});
}

}  // namespace
}  // namespace smidgen
