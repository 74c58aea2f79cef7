#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase spec(double density) {
  return {.method = "ties",
          .inputs = {{1, -2, .5f, .1f}, {-3, -1, .4f, 0}},
          .base = Values(4),
          .by_input = std::vector<std::map<std::string, double>>(
              2, {{"weight", .5}, {"density", density}})};
}

MergeCase alone(Values x, double density) {
  Values zeros(x.size());
  return {.method = "ties",
          .inputs = {std::move(x)},
          .base = std::move(zeros),
          .by_input = {{{"weight", 1}, {"density", density}}}};
}

TEST(TiesMerge, TrimsElectsAndDividesByWeight) {
  EXPECT_EQ(merged(spec(.5)), (Values{-3, -1.5f, 0, 0}));
}

TEST(TiesMerge, KeepsAllOrNothingAtTheEnds) {
  const Values all = {-3, -1.5f, .45f, .1f};
  EXPECT_LT(relative_difference(merged(spec(1)), all), 1e-6);
  EXPECT_EQ(merged(spec(1.5)), merged(spec(1)));
  for (const double none : {0.0, -1.0}) EXPECT_EQ(merged(spec(none)), Values(4));
  // Less than one element is one.
  EXPECT_EQ(merged(spec(1e-9)), (Values{-3, -2, 0, 0}));
}

TEST(TiesMerge, KeepsTheLargestOfALongTensor) {
  const Values x = normal_values(2300000, 4);
  const Values got = merged(alone(x, .2));
  Values sizes(x.size());
  std::transform(x.begin(), x.end(), sizes.begin(), [](float v) { return std::fabs(v); });
  const auto bound = sizes.begin() + 460000;
  std::nth_element(sizes.begin(), bound, sizes.end(), std::greater<>());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(got[i], std::fabs(x[i]) > *bound ? x[i] : 0);
}

TEST(TiesMerge, KeepsTheFirstOfEqualSizes) {
  // The last one kept lies within the second tile.
  Values x(2300000, .3f);
  for (size_t i = 0; i < x.size(); i += 3) x[i] = -.3f;
  const Values got = merged(alone(x, .6));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(got[i], i < 1380000 ? x[i] : 0);
}

TEST(TiesMerge, TakesPlusWhereTheSumIsZero) {
  MergeCase c = spec(1);
  c.inputs = {{1, -2}, {-1, 2}};
  c.base = Values(2);
  EXPECT_EQ(merged(c), (Values{1, 2}));
}

TEST(TiesMerge, RescalesToTheSumOfMagnitudes) {
  MergeCase c = alone({4, -3, 2, 1}, .5);
  c.shared["rescale"] = 1;
  EXPECT_LT(relative_difference(merged(c), {40. / 7, -30. / 7, 0, 0}), 1e-6);
  c.inputs[0] = {4e-8f, 0, 0, 0};  // nothing to speak of stays as it is
  EXPECT_EQ(merged(c), c.inputs[0]);
}

TEST(TiesMerge, RefusesANumberThatIsNone) {
  EXPECT_EQ(error_of([] { merged(alone({1, 2}, NAN)); }), "usage: density of model 1 is nan (w) ");
}

}  // namespace
}  // namespace smidgen
