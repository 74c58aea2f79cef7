#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase stock(Values base, std::vector<Values> inputs, std::vector<int64_t> shape = {}) {
  return {.method = "model_stock",
          .inputs = std::move(inputs),
          .base = std::move(base),
          .shape = std::move(shape)};
}

TEST(ModelStockMerge, IdenticalModelsAreReturnedToTheBit) {
  const Values base = normal_values(70002, 1), a = normal_values(70002, 2);
  for (const double filter_wise : {0, 1}) {
    MergeCase c = stock(base, {a, a, a}, {2, 35001});
    c.shared["filter_wise"] = filter_wise;
    EXPECT_EQ(merged(c), a);
  }
}

TEST(ModelStockMerge, UnrelatedModelsLeaveTheBase) {
  EXPECT_EQ(merged(stock({1, 1, 1}, {{2, 1, 1}, {1, 3, 1}})), (Values{1, 1, 1}));
  EXPECT_EQ(merged(stock({1, 1}, {{1, 1}, {1, 1}})), (Values{1, 1}));
}

TEST(ModelStockMerge, OppositeModelsLeaveTheBase) {
  EXPECT_EQ(merged(stock({1, 1}, {{3, 0}, {-1, 2}})), (Values{1, 1}));
}

TEST(ModelStockMerge, FilterWiseTakesEachLineForItself) {
  // One line agrees, one is at a right angle: t = 1 and 0.
  MergeCase c = stock(Values(4), {{1, 2, 1, 0}, {1, 2, 0, 1}}, {2, 2});
  c.shared["filter_wise"] = 1;
  EXPECT_EQ(merged(c), (Values{1, 2, 0, 0}));
  c.shared["filter_wise"] = 0;
  EXPECT_GT(merged(c)[2], .4f);
}

}  // namespace
}  // namespace smidgen
