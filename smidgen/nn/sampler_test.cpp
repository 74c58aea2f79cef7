#include "smidgen/nn/sampler.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

// Scores whose softmax is known: log p.
std::vector<float> logs(const std::vector<double>& p) {
  std::vector<float> s;
  for (const double x : p) s.push_back(static_cast<float>(std::log(x)));
  return s;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-6) << "token " << i;
}

std::vector<double> after(const SampleOptions& options, const std::vector<double>& p,
                          std::vector<int32_t> seen = {}) {
  return Sampler(options).probabilities(logs(p), seen);
}

const std::vector<double> kP = {0.1, 0.4, 0.05, 0.3, 0.15};

TEST(Sampler, PlainIsSoftmax) {
  expect_near(after({}, kP), kP);
}

TEST(Sampler, GreedyTakesTheFirstOfEquals) {
  const std::vector<float> s = {1, 3, 3, 2};
  EXPECT_EQ(Sampler({.greedy = true}).pick(s, {}, 0), 1);
  EXPECT_EQ(Sampler({.temperature = 0}).pick(s, {}, 0), 1);
}

// p^(1/t) up to a constant: t = 1/2 squares.
TEST(Sampler, TemperatureIsAPower) {
  std::vector<double> wanted;
  double sum = 0;
  for (const double p : kP) sum += p * p;
  for (const double p : kP) wanted.push_back(p * p / sum);
  expect_near(after({.temperature = 0.5}, kP), wanted);
}

TEST(Sampler, TopKKeepsTiesWithTheLast) {
  expect_near(after({.top_k = 2}, kP), {0, 4.0 / 7, 0, 3.0 / 7, 0});
  expect_near(after({.top_k = 2}, {0.5, 0.2, 0.2, 0.1}), {0.5 / 0.9, 0.2 / 0.9, 0.2 / 0.9, 0});
  expect_near(after({.top_k = 99}, kP), kP);
}

// 0.4 alone is not 0.6; 0.4 + 0.3 is the first sum that reaches it.
TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  expect_near(after({.top_p = 0.6}, kP), {0, 4.0 / 7, 0, 3.0 / 7, 0});
  expect_near(after({.top_p = 0.75}, kP), {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85});
  expect_near(after({.top_p = 1e-9}, kP), {0, 1, 0, 0, 0});
}

TEST(Sampler, MinPIsAShareOfTheHighest) {
  expect_near(after({.min_p = 0.3}, kP), {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85});
  expect_near(after({.min_p = 1}, kP), {0, 1, 0, 0, 0});
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeScoresOnce) {
  const std::vector<float> s = {2, -1, 0.5};
  const std::vector<int32_t> seen = {0, 1, 1, 0};
  const std::vector<double> got = Sampler({.repetition_penalty = 2}).probabilities(s, seen);
  const double a = std::exp(1.0), b = std::exp(-2.0), c = std::exp(0.5);
  expect_near(got, {a / (a + b + c), b / (a + b + c), c / (a + b + c)});
  // Greedy feels it too: 2 / 8 is under 0.5.
  EXPECT_EQ(Sampler({.greedy = true, .repetition_penalty = 8}).pick(s, seen, 0), 2);
}

// Temperature comes before top-p: at t = 1/2 the highest has 0.16 / 0.285 = 0.56 and is enough for
// 0.5, which 0.4 is not. Top-k comes before top-p: of {0.4, 0.3} the highest has 0.57.
TEST(Sampler, OrderOfTheSteps) {
  expect_near(after({.temperature = 0.5, .top_p = 0.5}, kP), {0, 1, 0, 0, 0});
  expect_near(after({.top_k = 2, .top_p = 0.5}, kP), {0, 1, 0, 0, 0});
  expect_near(after({.top_p = 0.5}, kP), {0, 4.0 / 7, 0, 3.0 / 7, 0});
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const Sampler sampler({.seed = 3});
  const std::vector<float> s = logs(kP);
  std::vector<int> counts(kP.size());
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i)
    ++counts[static_cast<size_t>(sampler.pick(s, {}, static_cast<uint64_t>(i)))];
  for (size_t i = 0; i < kP.size(); ++i) {
    EXPECT_NEAR(counts[i], kDraws * kP[i], 5 * std::sqrt(kDraws * kP[i] * (1 - kP[i])));
  }
}

TEST(Sampler, DrawsAreKeyedBySeedPositionAndStream) {
  const std::vector<float> s(1000, 0.0f);
  EXPECT_EQ(Sampler({.seed = 1}).pick(s, {}, 5, 2), Sampler({.seed = 1}).pick(s, {}, 5, 2));
  EXPECT_NE(Sampler({.seed = 1}).pick(s, {}, 5, 2), Sampler({.seed = 2}).pick(s, {}, 5, 2));
  EXPECT_NE(Sampler({.seed = 1}).pick(s, {}, 5, 2), Sampler({.seed = 1}).pick(s, {}, 6, 2));
  EXPECT_NE(Sampler({.seed = 1}).pick(s, {}, 5, 2), Sampler({.seed = 1}).pick(s, {}, 5, 3));
}

TEST(Sampler, RefusesWhatHasNoMeaning) {
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}), Error);
  EXPECT_THROW(Sampler({.min_p = 1.5}), Error);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}), Error);
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              inf = std::numeric_limits<float>::infinity();
  EXPECT_THROW(Sampler({}).pick(std::vector<float>{0, nan}, {}, 0), Error);
  EXPECT_THROW(Sampler({.greedy = true}).pick(std::vector<float>{0, inf}, {}, 0), Error);
  EXPECT_EQ(Sampler({}).pick(std::vector<float>{-inf, 0}, {}, 0), 1);
}

}  // namespace
}  // namespace smidgen
