#include "smidgen/delta/adapters/combination.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

using Rule = Combination::Rule;

const at::Tensor kX = at::tensor({1.0f, -2.0f, .5f, .1f});
const at::Tensor kY = at::tensor({-3.0f, -1.0f, .4f, 0.0f});

std::vector<double> mixed(Rule rule, double density, bool by_count = false) {
  const at::Tensor out =
      mix(rule, {kX, kY}, {.5, .5}, {.density = density, .by_count = by_count, .seed = 3});
  const float* values = out.const_data_ptr<float>();
  return {values, values + out.numel()};
}

using Values = std::vector<double>;

// Values of peft.utils.merge_utils 0.21.2.
TEST(Combination, GivesPeftsValues) {
  EXPECT_EQ(mixed(Rule::ties, .5), (Values{-1.5, -.75, 0, 0}));
  EXPECT_EQ(mixed(Rule::ties, .5, true), (Values{.5, -.75, 0, 0}));
  EXPECT_EQ(mixed(Rule::prune, .5), (Values{-1, -1.5, 0, 0}));
}

TEST(Combination, DensityOneDropsNothing) {
  for (const Rule rule : {Rule::prune, Rule::dare})
    EXPECT_EQ(mixed(rule, 1), mixed(Rule::sum, .3)) << int(rule);
  EXPECT_EQ(mixed(Rule::dare_ties, 1), mixed(Rule::ties, 1));
}

TEST(Combination, DensityZeroLeavesZeros) {
  for (const Rule rule : {Rule::prune, Rule::dare, Rule::ties, Rule::dare_ties})
    EXPECT_EQ(mixed(rule, 0), (Values{0, 0, 0, 0})) << int(rule);
}

TEST(Combination, OfEqualMagnitudesTheFirstAreKept) {
  const at::Tensor x = at::tensor({1.0f, -1.0f, 1.0f, 1.0f});
  EXPECT_TRUE(at::equal(mix(Rule::prune, {x}, {1}, {.density = .5}),
                        at::tensor({1.0f, -1.0f, 0.0f, 0.0f})));
}

TEST(Combination, DareKeepsAShareAndTheMean) {
  const at::Tensor x = at::ones({200, 100});
  for (const double density : {.2, .5, .9}) {
    const at::Tensor y = mix(Rule::dare, {x}, {1}, {.density = density, .seed = 7, .stream = "m"});
    const double share = y.ne(0).to(at::kDouble).mean().item<double>();
    // Five deviations of a binomial.
    const double deviation = std::sqrt(density * (1 - density) / 20000);
    EXPECT_NEAR(share, density, 5 * deviation);
    EXPECT_TRUE(at::logical_or(y.eq(0), y.eq(static_cast<float>(1 / density))).all().item<bool>());
  }
}

TEST(Combination, DareDependsOnSeedTensorAndInputOnly) {
  const at::Tensor x = at::rand({64, 64});
  const auto one = [&](uint64_t seed, const char* stream) {
    return mix(Rule::dare, {x}, {1}, {.density = .5, .seed = seed, .stream = stream});
  };
  EXPECT_TRUE(at::equal(one(1, "a"), one(1, "a")));
  EXPECT_FALSE(at::equal(one(1, "a"), one(2, "a")));
  EXPECT_FALSE(at::equal(one(1, "a"), one(1, "b")));
  const at::Tensor two =
      mix(Rule::dare, {x, x}, {1, -1}, {.density = .5, .seed = 1, .stream = "a"});
  EXPECT_GT(two.abs().max().item<double>(), 0);  // the same values, other places
}

TEST(Combination, MisspeltNamesHaveNeighbours) {
  try {
    find_combination("dare_tie_svd");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(e.hint().find("'dare_ties_svd'"), std::string::npos) << e.hint();
  }
}

}  // namespace
}  // namespace smidgen
