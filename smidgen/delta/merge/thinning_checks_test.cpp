#include "smidgen/delta/merge/thinning_checks_test.h"

#include <cmath>

#include <gtest/gtest.h>

namespace smidgen {

namespace {

constexpr size_t kRows = 300, kColumns = 1000, kCount = kRows * kColumns;
constexpr double kDensity = .3;

double share(const Values& values) {
  double kept = 0;
  for (const float v : values) kept += v != 0;
  return kept / static_cast<double>(values.size());
}

double magnitude(const Values& values) {
  double sum = 0;
  for (const float v : values) sum += std::fabs(v);
  return sum;
}

// Share of the elements that both keep.
double both(const Values& a, const Values& b) {
  double kept = 0;
  for (size_t i = 0; i < a.size(); ++i) kept += a[i] != 0 && b[i] != 0;
  return kept / static_cast<double>(a.size());
}

// Of `models`, the one numbered `which` alone counts; the others have weight 0.
MergeCase among(const std::string& method, const std::vector<Values>& models, size_t which) {
  MergeCase c = thinned_alone(method, models[0], kDensity);
  c.inputs = models;
  c.by_input.resize(models.size(), c.by_input[0]);
  for (size_t i = 0; i < models.size(); ++i) c.by_input[i]["weight"] = i == which ? 1 : 0;
  return c;
}

}  // namespace

MergeCase thinned_alone(const std::string& method, Values delta, double density, uint64_t seed) {
  Values zeros(delta.size());
  MergeCase c{.method = method,
              .inputs = {std::move(delta)},
              .base = std::move(zeros),
              .by_input = {{{"weight", 1}, {"density", density}}},
              .seed = seed};
  if (c.inputs[0].size() == kCount) c.shape = {kRows, kColumns};
  return c;
}

void expect_random_thinning(const std::string& method) {
  const Values x = normal_values(kCount, 1);
  const double deviation = std::sqrt(kDensity * (1 - kDensity) / kCount);

  MergeCase plain = thinned_alone(method, x, kDensity);
  plain.shared["rescale"] = 0;
  const Values kept = merged(plain);
  EXPECT_NEAR(share(kept), kDensity, 5 * deviation);
  for (size_t i = 0; i < kCount; ++i) ASSERT_TRUE(kept[i] == 0 || kept[i] == x[i]);

  const Values rescaled = merged(thinned_alone(method, x, kDensity));
  EXPECT_NEAR(magnitude(rescaled) / magnitude(x), 1, 1e-6);
  const double factor = magnitude(x) / magnitude(kept);
  for (size_t i = 0; i < kCount; ++i) ASSERT_NEAR(rescaled[i], kept[i] * factor, 1e-5);

  EXPECT_EQ(merged(thinned_alone(method, x, kDensity)), rescaled);
  const Values other_seed = merged(thinned_alone(method, x, kDensity, 2));
  const std::vector<Values> twice = {x, x};
  const Values first = merged(among(method, twice, 0)), second = merged(among(method, twice, 1));
  EXPECT_EQ(first, rescaled);
  // Two independent masks of this density share its square; of ranked rows a little more, since
  // both prefer large values: density^2 + epsilon^2 / 3.
  EXPECT_NEAR(both(rescaled, other_seed), kDensity * kDensity + .0075 / 2, .0075 / 2 + 5e-3);
  EXPECT_NEAR(both(first, second), kDensity * kDensity + .0075 / 2, .0075 / 2 + 5e-3);

  for (const double whole : {1.0, 2.0}) EXPECT_EQ(merged(thinned_alone(method, x, whole)), x);
  for (const double none : {0.0, -1.0})
    EXPECT_EQ(merged(thinned_alone(method, x, none)), Values(kCount));
}

void expect_election_of_thinned(const std::string& method, const std::string& election,
                                bool normalize) {
  const std::vector<Values> models = {normal_values(kCount, 1), normal_values(kCount, 2)};
  MergeCase c = among(method, models, 0);
  c.by_input[0]["weight"] = .7;
  c.by_input[1]["weight"] = .4;
  MergeCase want{.method = election,
                 .inputs = {merged(among(method, models, 0)), merged(among(method, models, 1))},
                 .base = Values(kCount),
                 .shared = {{"normalize", normalize ? 1.0 : 0.0}},
                 .by_input = {{{"weight", .7}}, {{"weight", .4}}}};
  EXPECT_LT(relative_difference(merged(c), merged(want)), 1e-6);
}

}  // namespace smidgen
