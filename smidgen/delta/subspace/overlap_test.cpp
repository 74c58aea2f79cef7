#include "smidgen/delta/subspace/overlap.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/delta/subspace/subspace_checks_test.h"

namespace smidgen {
namespace {

double overlap(const at::Tensor& a, const at::Tensor& b, double eta) {
  const LeftBasis x = left_basis(a), y = left_basis(b);
  return OverlapTable(x, y).at(eta).value;
}

TEST(SubspaceOverlap, TableHoldsEveryPairOfRanks) {
  const LeftBasis x = left_basis(normal_matrix(20, 30, 1)), y = left_basis(normal_matrix(20, 9, 2));
  const OverlapTable table(x, y);
  for (const int64_t k1 : {1, 3, 20}) {
    for (const int64_t k2 : {1, 4, 9}) {
      const at::Tensor product = at::mm(x.vectors.narrow(1, 0, k1).t(), y.vectors.narrow(1, 0, k2));
      EXPECT_NEAR(table.shared(k1, k2), product.square().sum().item<double>(), 1e-12);
    }
  }
}

TEST(SubspaceOverlap, IsOneOfAnUpdateWithItselfAndSymmetric) {
  const at::Tensor a = normal_matrix(30, 40, 1), b = normal_matrix(30, 25, 2);
  for (const double eta : standard_energies()) {
    EXPECT_NEAR(overlap(a, a, eta), 1, 1e-10);
    EXPECT_NEAR(overlap(a, a * -3e-5, eta), 1, 1e-10);
    EXPECT_NEAR(overlap(a, b, eta), overlap(b, a, eta), 1e-12);
    EXPECT_LE(overlap(a, b, eta), 1);
  }
}

// Of full rank kept, the right side of an update does not matter.
TEST(SubspaceOverlap, OfAPlantedSubspaceIsOne) {
  const at::Tensor s = orthonormal_columns(60, 5, 1);
  const at::Tensor a = at::mm(s, normal_matrix(5, 40, 2)), b = at::mm(s, normal_matrix(5, 40, 3));
  const LeftBasis x = left_basis(a), y = left_basis(b);
  const Overlap found = OverlapTable(x, y).at(1);
  EXPECT_EQ(found.k1, 5);
  EXPECT_EQ(found.k2, 5);
  EXPECT_NEAR(found.value, 1, 1e-10);
  EXPECT_NEAR(found.random, 5.0 / 60, 1e-15);
  const at::Tensor invertible = normal_matrix(40, 40, 4);
  EXPECT_NEAR(overlap(a, at::mm(b, invertible), 1), 1, 1e-8);
  // Other subspaces are found apart.
  EXPECT_LT(overlap(a, at::mm(orthonormal_columns(60, 5, 9), normal_matrix(5, 40, 3)), 1), 0.4);
}

// The mean over independent random subspaces of R^m is max(k1, k2) / m.
TEST(SubspaceOverlap, OfRandomSubspacesIsTheBaseline) {
  for (const auto& [k1, k2] : {std::pair<int64_t, int64_t>{10, 40}, {30, 30}}) {
    constexpr int64_t m = 200;
    constexpr int kDraws = 60;
    double mean = 0, square = 0, random = 0;
    for (uint64_t draw = 0; draw < kDraws; ++draw) {
      const LeftBasis x = left_basis(orthonormal_columns(m, k1, 100 + draw));
      const LeftBasis y = left_basis(orthonormal_columns(m, k2, 1000 + draw));
      const Overlap found = OverlapTable(x, y).at(1);
      mean += found.value / kDraws;
      square += found.value * found.value / kDraws;
      random = found.random;
    }
    EXPECT_EQ(random, static_cast<double>(std::max(k1, k2)) / m);
    const double error = std::sqrt((square - mean * mean) / kDraws);
    EXPECT_LT(error, 0.003);
    EXPECT_NEAR(mean, random, 4 * error);
  }
}

}  // namespace
}  // namespace smidgen
