#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase ram(Values base, std::vector<Values> inputs) {
  return {.method = "ram", .inputs = std::move(inputs), .base = std::move(base)};
}

TEST(RamMerge, AveragesOverTheModelsThatMove) {
  EXPECT_EQ(merged(ram({1, 1, 1, 1}, {{2, 1, 3, 1}, {1, 1, 6, 1}, {1, 1, 1, 0}})),
            (Values{2, 1, 4.5f, 0}));
}

TEST(RamMerge, MovesOfEpsilonAndBelowAreNone) {
  MergeCase c = ram({0, 0, 0}, {{.25f, .5f, 1}, {1, 1, 1}});
  c.shared["epsilon"] = .25;
  EXPECT_EQ(merged(c), (Values{1, .75f, 1}));
}

TEST(RamMerge, OneModelIsReturned) {
  const Values base = normal_values(70001, 1), a = normal_values(70001, 2);
  MergeCase c = ram(base, {a});
  c.shared["epsilon"] = 0;
  EXPECT_LT(relative_difference(merged(c), a), 1e-6);
  EXPECT_EQ(merged(ram(base, {base})), base);
}

}  // namespace
}  // namespace smidgen
