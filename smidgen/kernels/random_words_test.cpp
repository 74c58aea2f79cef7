#include "smidgen/kernels/random_words.h"

#include <vector>

#include <gtest/gtest.h>

#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

class RandomWordsOnTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, RandomWordsOnTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& info) { return info.param; });

TEST_P(RandomWordsOnTarget, AreOfTheirIndexAlone) {
  const RandomWords words(Rng(uint64_t{5} << 33 | 9, "words", 3, "q_proj"));
  // Beginnings inside a block, and a block whose number passes 32 bits on the way.
  for (const uint64_t first : {uint64_t{0}, uint64_t{3}, (uint64_t{1} << 34) - 22}) {
    for (const size_t count : {0, 1, 2, 5, 31, 32, 33, 200}) {
      std::vector<uint32_t> got(count), want(count);
      words.fill(first, got);
      for (size_t i = 0; i < count; ++i) want[i] = words.at(first + i);
      EXPECT_EQ(got, want) << first << " " << count;
    }
  }
}

TEST(RandomWords, AreThoseOfPhilox) {
  const Rng rng(7, "words");
  const PhiloxBlock key = rng.block(0);
  const PhiloxBlock block = philox({1, 0, key[2], key[3]}, {key[0], key[1]});
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(RandomWords(rng).at(4 + i), block[i]);
}

}  // namespace
}  // namespace smidgen
