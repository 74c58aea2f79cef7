#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase sce(Values base, std::vector<Values> inputs, double topk) {
  return {.method = "sce",
          .inputs = std::move(inputs),
          .base = std::move(base),
          .shared = {{"select_topk", topk}}};
}

TEST(SceMerge, SelectsPartOfWhatVaries) {
  // Variances 0, 4, 1, 9, 0 and 16: of the four that are not zero the largest half is taken.
  const Values a = {5, 2, 1, 3, 0, 4}, b = {5, -2, -1, -3, 0, -4};
  EXPECT_EQ(merged(sce(Values(6), {a, b}, .5)), (Values{0, 0, 0, 3, 0, 4}));
  EXPECT_EQ(merged(sce(Values(6), {a, b}, 1)), (Values{5, 2, 1, 3, 0, 4}));
  EXPECT_EQ(merged(sce({1, 1, 1, 1, 1, 1}, {a, b}, 0)), Values(6, 1));
  EXPECT_EQ(merged(sce({1, 1, 1, 1, 1, 1}, {a, b}, .2)), Values(6, 1));
}

TEST(SceMerge, OfEqualVariancesTheFirstAreTaken) {
  const size_t n = 2'500'000;
  const Values got = merged(sce(Values(n), {Values(n, 1), Values(n, -1)}, .5));
  for (size_t i = 0; i < n; ++i) ASSERT_EQ(got[i], i < n / 2 ? 1 : 0) << i;
}

TEST(SceMerge, OneModelIsReturnedUnlessSelected) {
  const Values base = normal_values(70001, 1), a = normal_values(70001, 2);
  EXPECT_LT(relative_difference(merged(sce(base, {a}, 1)), a), 1e-6);
  EXPECT_EQ(merged(sce(base, {a}, .9)), base);
}

TEST(SceMerge, WeighsByWhatIsSelected) {
  // Of the last element alone the first model has a tenth, of all a third.
  const Values a = {2, 0, 1}, b = {1, 0, 3};
  EXPECT_LT(relative_difference(merged(sce(Values(3), {a, b}, .5)), {0, 0, 2.8f}), 1e-6);
  EXPECT_LT(relative_difference(merged(sce(Values(3), {a, b}, 1)), {4.0f / 3, 0, 7.0f / 3}), 1e-6);
}

}  // namespace
}  // namespace smidgen
