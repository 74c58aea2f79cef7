#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase karcher(std::vector<Values> inputs) {
  return {.method = "karcher", .inputs = std::move(inputs)};
}

double norm(const Values& x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

Values scaled(Values x, double by) {
  for (float& v : x) v = static_cast<float>(v * by);
  return x;
}

TEST(KarcherMerge, OfTwoIsSlerpInTheMiddleWithTheMeanLength) {
  const Values a = normal_values(5000, 1);
  const Values b = scaled(normal_values(5000, 2), norm(a) / norm(normal_values(5000, 2)));
  const MergeCase middle{.method = "slerp", .inputs = {b}, .base = a, .shared = {{"t", .5}}};
  EXPECT_LT(relative_difference(merged(karcher({a, b})), merged(middle)), 1e-6);
  // Lengths only scale the result.
  EXPECT_LT(relative_difference(merged(karcher({a, scaled(b, 3)})), scaled(merged(middle), 2)),
            1e-6);
}

TEST(KarcherMerge, PullsOfTheModelsCancelAtTheMean) {
  const std::vector<Values> models = {{1, .2f, 0}, {.1f, 1, .3f}, {.2f, -.3f, 1}};
  MergeCase c = karcher(models);
  c.shared = {{"max_iter", 100}, {"tol", 1e-9}};
  const Values mean = scaled(merged(c), 1 / norm(merged(c)));
  std::vector<double> pull(3);
  for (const Values& model : models) {
    const Values u = scaled(model, 1 / norm(model));
    double cosine = 0;
    for (size_t k = 0; k < 3; ++k) cosine += static_cast<double>(u[k]) * mean[k];
    const double angle = std::acos(cosine);
    for (size_t k = 0; k < 3; ++k) pull[k] += angle / std::sin(angle) * (u[k] - cosine * mean[k]);
  }
  for (const double p : pull) EXPECT_NEAR(p, 0, 1e-6);
}

TEST(KarcherMerge, EqualModelsStay) {
  const Values a = normal_values(70001, 1);
  EXPECT_EQ(merged(karcher({a})), a);
  EXPECT_LT(relative_difference(merged(karcher({a, a, a})), a), 1e-7);
}

TEST(KarcherMerge, ZerosOnlyShorten) {
  EXPECT_LT(relative_difference(merged(karcher({{3, 4}, {0, 0}})), {1.5f, 2}), 1e-7);
  EXPECT_EQ(merged(karcher({{0, 0}, {0, 0}})), (Values{0, 0}));
}

TEST(KarcherMerge, OfOppositeModelsIsTheFirst) {
  EXPECT_LT(relative_difference(merged(karcher({{3, 4}, {-3, -4}})), {3, 4}), 1e-7);
}

}  // namespace
}  // namespace smidgen
