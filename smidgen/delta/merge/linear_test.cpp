#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

const Values kX = {1, -2, .5f, .1f}, kY = {-3, -1, .4f, 0};

MergeCase soup(double base, double x, double y) {
  return {.method = "linear",
          .inputs = {Values(4), kX, kY},
          .by_input = {{{"weight", base}}, {{"weight", x}}, {{"weight", y}}}};
}

TEST(LinearMerge, IsTheWeightedMean) {
  EXPECT_LT(relative_difference(merged(soup(0, 1, 3)), {-2, -1.25f, .425f, .025f}), 1e-6);
}

TEST(LinearMerge, SumsWhereNotNormalised) {
  MergeCase c = soup(0, 1, 3);
  c.shared["normalize"] = 0;
  EXPECT_LT(relative_difference(merged(c), {-8, -5, 1.7f, .1f}), 1e-6);
}

TEST(LinearMerge, EqualModelsStay) {
  const Values w = normal_values(70000, 1);
  const Values got = merged(
      {.method = "linear", .inputs = {w, w}, .by_input = {{{"weight", .25}}, {{"weight", .75}}}});
  EXPECT_EQ(got, w);
}

TEST(LinearMerge, RefusesWeightsThatSumToZero) {
  EXPECT_EQ(error_of([] { merged(soup(0, 1, -1)); }),
            "usage: the weights of a weighted mean sum to zero (w) normalize: false gives their "
            "plain sum");
}

}  // namespace
}  // namespace smidgen
