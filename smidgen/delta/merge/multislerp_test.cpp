#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase multislerp(std::vector<Values> inputs, const std::vector<double>& weights) {
  MergeCase c{.method = "multislerp", .inputs = std::move(inputs)};
  for (const double weight : weights) c.by_input.push_back({{"weight", weight}});
  return c;
}

TEST(MultislerpMerge, OneModelIsReturnedToTheBit) {
  const Values a = normal_values(70001, 1);
  MergeCase c = multislerp({a}, {-.3});
  EXPECT_EQ(merged(c), a);
  c.base = normal_values(70001, 2);
  EXPECT_EQ(merged(c), a);
}

TEST(MultislerpMerge, EqualModelsStay) {
  const Values a = normal_values(70001, 1);
  MergeCase c = multislerp({a, a, a}, {1, 2, 4});
  EXPECT_LT(relative_difference(merged(c), a), 1e-7);
  c.base = normal_values(70001, 2);
  EXPECT_LT(relative_difference(merged(c), a), 1e-7);
}

TEST(MultislerpMerge, HalvesTheAngleOfTwoAndAveragesLengths) {
  const float part = 3 / std::sqrt(2.0f);
  EXPECT_LT(relative_difference(merged(multislerp({{2, 0}, {0, 4}}, {1, 1})), {part, part}), 1e-6);
}

TEST(MultislerpMerge, OppositeModels) {
  const Values a = {3, -4}, b = {-3, 4};
  EXPECT_EQ(merged(multislerp({a, b}, {1, 1})), (Values{0, 0}));
  EXPECT_EQ(error_of([&] { merged(multislerp({a, b, {0, 0}}, {1, 1, 1})); }),
            "usage: the weighted directions of the models cancel out (w) other weights, or another "
            "merge method for this tensor");
}

TEST(MultislerpMerge, ZerosHaveNoDirection) {
  EXPECT_LT(relative_difference(merged(multislerp({{3, -4}, {0, 0}}, {1, 1})), {1.5f, -2}), 1e-6);
}

TEST(MultislerpMerge, WhatNobodyMovedStays) {
  MergeCase c = multislerp({{3, -4}, {3, -4}, {3, -4}}, {1, 1, 1});
  c.base = {3, -4};
  EXPECT_EQ(merged(c), c.base);
}

TEST(MultislerpMerge, RefusesWeightsThatSumToZero) {
  EXPECT_EQ(error_of([] { merged(multislerp({{1, 2}, {2, 1}}, {1, -1})); }),
            "usage: the weights of a mean on the sphere sum to zero (w) normalize_weights: false "
            "takes them as they are");
}

}  // namespace
}  // namespace smidgen
