#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase of(Values f, Values g) {
  return {.method = "fisher",
          .inputs = {{1, -2, 3, 4}, {5, 6, -7, 8}},
          .statistics = {{{4}, std::move(f)}, {{4}, std::move(g)}}};
}

TEST(Fisher, WeighsEachElement) {
  const Values got = merged(of({1, 3, 0, 2}, {1, 1, 5, 2}));
  const Values wanted = {3, 0, -7, 6};
  EXPECT_LT(relative_difference(got, wanted), 1e-5);
}

TEST(Fisher, EqualInformationIsTheMean) {
  const Values same(4, 7);
  EXPECT_LT(relative_difference(merged(of(same, same)), {3, 2, -2, 6}), 1e-6);
  const Values none(4, 0);
  EXPECT_LT(relative_difference(merged(of(none, none)), {3, 2, -2, 6}), 1e-6);
}

TEST(Fisher, AFactorOfAllChangesNothing) {
  const Values a = merged(of({1, 3, 2, 2}, {1, 1, 5, 2}));
  const Values b = merged(of({8, 24, 16, 16}, {8, 8, 40, 16}));
  EXPECT_LT(relative_difference(a, b), 1e-6);
}

TEST(Fisher, RefusesOtherShapesAndNone) {
  MergeCase c = of({1, 3, 2, 2}, {1, 1, 5, 2});
  c.statistics[1].first = {2, 2};
  EXPECT_NE(error_of([&] { merged(c); }).find("have the shape"), std::string::npos);
  c.statistics[1].first = {};
  EXPECT_NE(error_of([&] { merged(c); }).find("only some"), std::string::npos);
  c.statistics.clear();
  EXPECT_NE(error_of([&] { merged(c); }).find("needs statistics"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
