#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase fusion(Values base, Values other, std::vector<int64_t> shape) {
  return {.method = "arcee_fusion",
          .inputs = {std::move(other)},
          .base = std::move(base),
          .shape = std::move(shape)};
}

TEST(ArceeFusionMerge, TakesWhatLiesFarAboveTheMiddle) {
  // One row, so importances are the distances: 0 to 7, quartiles 1, 3 and 5, threshold 9; then 20
  // in place of 7.
  const Values base = {1, 1, 1, 1, 1, 1, 1, 1}, far = {1, 2, 3, 4, 5, 6, 7, -19};
  EXPECT_EQ(merged(fusion(base, {1, 2, 3, 4, 5, 6, 7, 8}, {8})), base);
  EXPECT_EQ(merged(fusion(base, far, {8})), (Values{1, 1, 1, 1, 1, 1, 1, -19}));
}

TEST(ArceeFusionMerge, SortingGivesTheSame) {
  const int64_t rows = 1300, columns = 1100;
  const size_t n = rows * columns;
  const Values a = normal_values(n, 1, .02);
  Values b = normal_values(n, 2, .001), importance(n);
  for (size_t i = 0; i < n; ++i) b[i] += a[i];
  for (int64_t row = 0; row < rows; ++row) {
    const float *x = a.data() + row * columns, *y = b.data() + row * columns;
    double of_x = 0, of_y = 0, divergence = 0;
    for (int64_t k = 0; k < columns; ++k)
      of_x += std::exp(double{x[k]}), of_y += std::exp(double{y[k]});
    for (int64_t k = 0; k < columns; ++k) {
      const double p = std::exp(double{y[k]}) / of_y + 1e-8,
                   q = std::exp(double{x[k]}) / of_x + 1e-8;
      divergence += p * std::log(p / q);
    }
    for (int64_t k = 0; k < columns; ++k)
      importance[row * columns + k] =
          static_cast<float>(std::abs(double{y[k]} - x[k]) * divergence);
  }
  Values sorted = importance;
  std::sort(sorted.begin(), sorted.end());
  const auto quarter = [&](size_t q) { return double{sorted[q * (n - 1) / 4]}; };
  const double threshold = quarter(2) + 1.5 * (quarter(3) - quarter(1));
  const Values got = merged(fusion(a, b, {rows, columns}));
  size_t taken = 0;
  for (size_t i = 0; i < n; ++i) {
    taken += got[i] == b[i];
    if (std::abs(importance[i] / threshold - 1) > 1e-6)
      ASSERT_EQ(got[i], importance[i] >= threshold ? b[i] : a[i]) << i;
  }
  EXPECT_GT(taken, n / 50);
  EXPECT_LT(taken, n / 5);
}

TEST(ArceeFusionMerge, EqualModelsAndSingleColumnsGiveTheOther) {
  const Values a = {1, 2, 3, 4};
  EXPECT_EQ(merged(fusion(a, a, {4})), a);
  // A softmax of one value knows no difference: nothing is more important than the rest.
  EXPECT_EQ(merged(fusion(a, {4, 3, 2, 1}, {4, 1})), (Values{4, 3, 2, 1}));
}

TEST(ArceeFusionMerge, RefusesRowsThatArriveInPieces) {
  EXPECT_EQ(error_of([] { merged(fusion(Values(1'100'000), Values(1'100'000), {1'100'000})); }),
            "unsupported: arcee_fusion of a row of 1100000 values (w) rows of up to 1048576");
}

}  // namespace
}  // namespace smidgen
