#include "smidgen/nn/packed.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace smidgen {
namespace {

TEST(Packed, KeepsIdsPositionsTargetsAndBorders) {
  const std::vector<Sample> samples = {{{7, 8, 9}, {0, 0, 1}, "a:1"}, {{4, 5}, {0, 1}, "a:2"}};
  const Batch batch = to_batch(pack(samples), 2);
  EXPECT_TRUE(batch.main.ids.equal(torch::tensor({7, 8, 9, 4, 5}, at::kLong)));
  EXPECT_TRUE(batch.main.positions.equal(torch::tensor({0, 1, 2, 0, 1}, at::kLong)));
  EXPECT_TRUE(batch.targets.equal(torch::tensor({-100, 9, -100, 5, -100}, at::kLong)));
  EXPECT_EQ(batch.main.starts, (std::vector<int64_t>{0, 3, 5}));
  EXPECT_EQ(batch.main.slots, (std::vector<int>{2, 2}));
  ASSERT_EQ(batch.main.rows->segments.size(), 1u);
  EXPECT_EQ(batch.main.rows->segments[0].slot, 2);
  EXPECT_EQ(batch.main.rows->segments[0].end, 5);
  EXPECT_EQ(batch.answers, 2);
}

}  // namespace
}  // namespace smidgen
