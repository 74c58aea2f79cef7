#include <gtest/gtest.h>

#include "smidgen/delta/merge/thinning_checks_test.h"

namespace smidgen {
namespace {

TEST(DareTiesMerge, ThinsAtRandom) {
  expect_random_thinning("dare_ties");
}

TEST(DareTiesMerge, MergesWhatIsKept) {
  expect_election_of_thinned("dare_ties", "ties", false);
}

}  // namespace
}  // namespace smidgen
