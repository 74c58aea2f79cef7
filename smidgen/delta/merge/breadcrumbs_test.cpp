#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase crumbs(std::vector<Values> inputs, double density, double gamma) {
  const size_t count = inputs.size();
  Values zeros(inputs.at(0).size());
  return {.method = "breadcrumbs",
          .inputs = std::move(inputs),
          .base = std::move(zeros),
          .by_input = std::vector<std::map<std::string, double>>(
              count, {{"weight", 1}, {"density", density}, {"gamma", gamma}})};
}

TEST(BreadcrumbsMerge, LeavesOutBothEnds) {
  const std::vector<Values> both = {{1, -2, .5f, .1f}, {-3, -1, .4f, 0}};
  EXPECT_LT(relative_difference(merged(crumbs(both, .5, .25)), {1, -1, .9f, 0}), 1e-6);
}

TEST(BreadcrumbsMerge, KeepsAWindowOfRanks) {
  // Sizes of three digits, so that both ends of the window go through equal ones.
  Values x = normal_values(2300000, 6);
  for (float& v : x) v = std::round(v * 100) / 100;
  std::vector<uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return std::fabs(x[a]) < std::fabs(x[b]); });
  Values want(x.size());
  const size_t kept = 690000, first = x.size() - kept - 46000;
  for (size_t rank = first; rank < first + kept; ++rank) want[order[rank]] = x[order[rank]];
  EXPECT_EQ(merged(crumbs({x}, .3, .02)), want);
}

TEST(BreadcrumbsMerge, KeepsItsShareOfOutliersWhereItMust) {
  // Nine of ten are to be kept and three left out: the smallest nine stay.
  EXPECT_EQ(merged(crumbs({{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, .9, .3)),
            (Values{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}));
}

TEST(BreadcrumbsMerge, RefusesAShareThatIsNone) {
  EXPECT_EQ(error_of([] { merged(crumbs({{1, 2}}, .5, -.1)); }),
            "usage: gamma -0.1 of model 1 is no share (w) gamma is the share of the largest values "
            "to leave out, 0 to 1");
}

}  // namespace
}  // namespace smidgen
