#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

TEST(BreadcrumbsTiesMerge, ElectsSignsAfterTheWindow) {
  // Without its outlier the second model has no say in the first value.
  MergeCase c{.method = "breadcrumbs_ties",
              .inputs = {{.5f, -2, 1, .1f}, {-9, 1, -.4f, 0}},
              .base = Values(4),
              .by_input = std::vector<std::map<std::string, double>>(
                  2, {{"weight", 1}, {"density", .5}, {"gamma", .25}})};
  EXPECT_EQ(merged(c), (Values{.5f, 1, 1, 0}));
  for (auto& values : c.by_input) values["weight"] = 3;
  c.shared["normalize"] = 1;
  EXPECT_EQ(merged(c), (Values{.5f, 1, 1, 0}));
}

}  // namespace
}  // namespace smidgen
