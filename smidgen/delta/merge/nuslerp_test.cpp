#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase nuslerp(Values a, Values b, double t, std::vector<int64_t> shape = {}) {
  return {.method = "nuslerp",
          .inputs = {std::move(a), std::move(b)},
          .shape = std::move(shape),
          .by_input = {{{"weight", 1 - t}}, {{"weight", t}}}};
}

// The part of `all` that starts at `first` and goes on every `step`.
Values strided(const Values& all, size_t first, size_t step, size_t count) {
  Values part(count);
  for (size_t i = 0; i < count; ++i) part[i] = all[first + i * step];
  return part;
}

TEST(NuslerpMerge, EndsAreTheModelsToTheBit) {
  const Values a = normal_values(70001, 1), b = normal_values(70001, 2);
  EXPECT_EQ(merged(nuslerp(a, b, 0)), a);
  EXPECT_EQ(merged(nuslerp(a, b, 1)), b);
  MergeCase c = nuslerp(a, b, 1);
  c.base = normal_values(70001, 3);
  EXPECT_EQ(merged(c), b);
}

TEST(NuslerpMerge, KeepsTheMiddleOfOppositeModels) {
  // b = -a + e: halfway lies the direction of e, with the length of a.
  const Values a = {1, 0, 0}, b = {-1, .001f, 0};
  EXPECT_LT(relative_difference(merged(nuslerp(a, b, .5)), {0, 1, 0}), 1e-6);
}

TEST(NuslerpMerge, WeightsThatCancelMeanTheMiddle) {
  MergeCase c = nuslerp({2, 0}, {0, 2}, 0);
  c.by_input = {{{"weight", 3}}, {{"weight", -3}}};
  const float half = std::sqrt(2.0f);
  EXPECT_LT(relative_difference(merged(c), {half, half}), 1e-7);
}

class NuslerpLines : public ::testing::TestWithParam<std::vector<int64_t>> {};

TEST_P(NuslerpLines, AreMergedEachForItself) {
  const std::vector<int64_t>& shape = GetParam();
  size_t count = 1;
  for (const int64_t n : shape) count *= n;
  MergeCase c = nuslerp(normal_values(count, 1), normal_values(count, 2), .3, shape);
  c.base = normal_values(count, 3, .5);
  c.shared["nuslerp_flatten"] = 0;
  for (const bool first : {false, true}) {
    c.shared["nuslerp_row_wise"] = first;
    const size_t length = first ? shape.front() : shape.back(), lines = count / length;
    const size_t step = first ? lines : 1;
    const Values all = merged(c);
    for (const size_t line : {size_t{0}, lines / 3, lines - 1}) {
      const size_t from = first ? line : line * length;
      MergeCase one = c;
      one.shape = {};
      one.shared["nuslerp_flatten"] = 1;
      for (Values& input : one.inputs) input = strided(input, from, step, length);
      one.base = strided(c.base, from, step, length);
      EXPECT_LT(relative_difference(strided(all, from, step, length), merged(one)), 1e-7)
          << "line " << line << (first ? " along the first" : " along the last");
    }
  }
}

// Wide ones: lines that are cut into tiles, and more columns than are summed in one pass.
INSTANTIATE_TEST_SUITE_P(Shapes, NuslerpLines,
                         ::testing::Values(std::vector<int64_t>{7}, std::vector<int64_t>{1, 5},
                                           std::vector<int64_t>{5, 1}, std::vector<int64_t>{6, 9},
                                           std::vector<int64_t>{3, 4, 5},
                                           std::vector<int64_t>{2000, 700},
                                           std::vector<int64_t>{3, 1'100'000},
                                           std::vector<int64_t>{4, 3, 500'000}));

}  // namespace
}  // namespace smidgen
