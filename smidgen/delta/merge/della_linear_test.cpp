#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/thinning_checks_test.h"

namespace smidgen {
namespace {

TEST(DellaLinearMerge, ThinsAtRandom) {
  expect_random_thinning("della_linear");
}

TEST(DellaLinearMerge, MergesWhatIsKept) {
  expect_election_of_thinned("della_linear", "task_arithmetic", false);
}

TEST(DellaLinearMerge, TakesRowsOfOne) {
  MergeCase c = thinned_alone("della_linear", Values(100000, 2), .4);
  c.shape = {100000, 1};
  double kept = 0;
  for (const float v : merged(c)) kept += v != 0;
  EXPECT_NEAR(kept / 100000, .4, 5 * std::sqrt(.4 * .6 / 100000));
}

TEST(DellaLinearMerge, RefusesWhatIsNoProbability) {
  MergeCase c = thinned_alone("della_linear", {1, 2}, .1);
  EXPECT_EQ(error_of([&] { merged(c); }),
            "usage: density 0.1 and epsilon 0.15 of model 1 give probabilities from -0.05 to 0.25 "
            "(w) density +- epsilon must lie between 0 and 1");
  c.by_input[0]["density"] = .9;
  EXPECT_NE(error_of([&] { merged(c); }), "no error");
  c.by_input[0]["density"] = 1;  // the whole needs no probability
  EXPECT_EQ(merged(c), c.inputs[0]);
}

TEST(DellaLinearMerge, RefusesRowsThatDoNotFit) {
  EXPECT_EQ(error_of([] { merged(thinned_alone("della_linear", Values(1048577), .5)); }),
            "unsupported: rows are ranked as a whole, and those of this tensor have 1048577 "
            "values, more than 1048576 (w) density: 1 for this tensor, or dare_ties or "
            "dare_linear");
}

}  // namespace
}  // namespace smidgen
