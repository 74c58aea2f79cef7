#include "smidgen/delta/merge/sparsifiers.h"

#include <gtest/gtest.h>

#include "smidgen/kernels/random_words.h"

namespace smidgen {
namespace {

std::vector<uint32_t> random_mask(const std::string& tensor, int64_t begin, size_t count) {
  const MergeTask task{.tensor = tensor,
                       .elements = 1000,
                       .columns = 1000,
                       .inputs = 1,
                       .by_input = {{{"density", .25}}},
                       .seed = 3};
  std::vector<uint32_t> mask(count);
  keep_at_random(task)->keep({.task = &task, .begin = begin}, 0, 0, mask);
  return mask;
}

TEST(Sparsifiers, DrawByTensorAndElement) {
  const auto whole = random_mask("a", 0, 1000);
  EXPECT_EQ(random_mask("a", 100, 50),
            std::vector<uint32_t>(whole.begin() + 100, whole.begin() + 150));
  const auto other = random_mask("b", 0, 1000);
  EXPECT_NE(other, whole);
  // A mask is the words below the density's share of all.
  const RandomWords words(Rng(3, "merge mask", 0, "a"));
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(whole[i] != 0, words.at(i) < 0x40000000) << i;
}

}  // namespace
}  // namespace smidgen
