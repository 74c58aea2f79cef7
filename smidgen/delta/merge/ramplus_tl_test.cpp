#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

// The first model moves 2 elements alone and 1 with the second, which moves none alone.
const MergeCase kCase = {.method = "ramplus_tl",
                         .inputs = {{1, 2, 4, 0}, {0, 0, 2, 0}},
                         .base = Values(4),
                         .shared = {{"r", .5}, {"alpha", 10}}};

TEST(RamplusTlMerge, BoostsWhatOneModelAloneMoves) {
  // 1 + .5 * 1/2
  EXPECT_EQ(merged(kCase), (Values{1.25f, 2.5f, 3, 0}));
}

TEST(RamplusTlMerge, BoundsTheRatio) {
  MergeCase c = kCase;
  c.shared["alpha"] = .25;
  EXPECT_EQ(merged(c), (Values{1.125f, 2.25f, 3, 0}));
}

TEST(RamplusTlMerge, WithoutStrengthIsRam) {
  MergeCase c{.method = "ramplus_tl",
              .inputs = {normal_values(3'000'000, 2), normal_values(3'000'000, 3)},
              .base = normal_values(3'000'000, 1),
              .shared = {{"r", 0}, {"epsilon", .5}}};
  MergeCase plain = c;
  plain.method = "ram";
  plain.shared.erase("r");
  EXPECT_EQ(merged(c), merged(plain));
}

TEST(RamplusTlMerge, CountsOverAllTiles) {
  // Two thirds of the elements are shared, one third is the first model's alone.
  const size_t n = 3'000'000;
  Values a(n, 1), b(n, 1);
  for (size_t i = 0; i < n; i += 3) b[i] = 0;
  const Values got = merged({.method = "ramplus_tl",
                             .inputs = {a, b},
                             .base = Values(n),
                             .shared = {{"r", .5}, {"alpha", 10}}});
  EXPECT_EQ(got[0], 2);
  EXPECT_EQ(got[n - 3], 2);
  EXPECT_EQ(got[n - 1], 1);
}

}  // namespace
}  // namespace smidgen
