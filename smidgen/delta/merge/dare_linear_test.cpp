#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/thinning_checks_test.h"

namespace smidgen {
namespace {

TEST(DareLinearMerge, ThinsAtRandom) {
  expect_random_thinning("dare_linear");
}

TEST(DareLinearMerge, MergesWhatIsKept) {
  expect_election_of_thinned("dare_linear", "task_arithmetic", false);
}

// Whatever an element is, it is kept as often as the density says.
TEST(DareLinearMerge, KeepsEachAlike) {
  const Values x = {4, -3, 2, 1, .5f, -6, 7, 8, -1, 2};
  std::vector<double> kept(x.size());
  constexpr int kSeeds = 20000;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    MergeCase c = thinned_alone("dare_linear", x, .3, seed);
    c.shared["rescale"] = 0;
    const Values got = merged(c);
    for (size_t i = 0; i < x.size(); ++i) kept[i] += got[i] / x[i] / kSeeds;
  }
  for (const double share : kept) EXPECT_NEAR(share, .3, 5 * std::sqrt(.3 * .7 / kSeeds));
}

}  // namespace
}  // namespace smidgen
