#include <gtest/gtest.h>

#include "smidgen/train/losses/loss_checks_test.h"
#include "smidgen/train/losses/registry.h"

namespace smidgen {
namespace {

TEST(CrossEntropyLoss, OnAModel) {
  check_on_a_model("cross_entropy", "{}");
}

TEST(Tally, MarginsOfUnpairedRewardsAreTheDifferenceOfTheirMeans) {
  Tally tally;
  tally.add("rewards/chosen", 6, 3);
  tally.add("rewards/rejected", 1, 2);
  tally.add("never", 0, 0);
  const auto means = tally.means();
  EXPECT_DOUBLE_EQ(means.at("rewards/margins"), 1.5);
  EXPECT_FALSE(means.contains("never"));
}

}  // namespace
}  // namespace smidgen
