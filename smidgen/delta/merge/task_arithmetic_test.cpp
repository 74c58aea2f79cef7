#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase spec(double x, double y) {
  return {.method = "task_arithmetic",
          .inputs = {{1, -2, .5f, .1f}, {-3, -1, .4f, 0}},
          .base = Values(4),
          .by_input = {{{"weight", x}}, {{"weight", y}}}};
}

TEST(TaskArithmeticMerge, AddsWeightedTaskVectors) {
  EXPECT_LT(relative_difference(merged(spec(.5, .5)), {-1, -1.5f, .45f, .05f}), 1e-6);
  MergeCase c = spec(.5, .5);
  c.base = {1, 1, 1, 1};  // 1 + .5 (x - 1) + .5 (y - 1) is the mean again
  EXPECT_LT(relative_difference(merged(c), {-1, -1.5f, .45f, .05f}), 1e-6);
}

TEST(TaskArithmeticMerge, TakesANegativeWeight) {
  EXPECT_LT(relative_difference(merged(spec(1, -1)), {4, -1, .1f, .1f}), 1e-6);
  // Weights that sum to zero divide by nothing.
  MergeCase c = spec(1, -1);
  c.shared["normalize"] = 1;
  EXPECT_EQ(merged(c), merged(spec(1, -1)));
}

TEST(TaskArithmeticMerge, KeepsEverythingWhateverTheDensity) {
  MergeCase c = spec(.5, .5);
  for (auto& values : c.by_input) values["density"] = .25;
  c.shared["rescale"] = 1;
  EXPECT_EQ(merged(c), merged(spec(.5, .5)));
}

}  // namespace
}  // namespace smidgen
