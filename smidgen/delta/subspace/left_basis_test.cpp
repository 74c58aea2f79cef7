#include "smidgen/delta/subspace/left_basis.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/subspace/subspace_checks_test.h"

namespace smidgen {
namespace {

// Against a full SVD by LAPACK, of matrices that are wide, tall and square.
TEST(LeftBasis, IsThatOfTheSingularValueDecomposition) {
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{20, 50}, {50, 20}, {31, 31}, {2100, 12}}) {
    const at::Tensor d = normal_matrix(m, n, 3);
    const auto [u, s, vh] = at::linalg_svd(d, false);
    const LeftBasis basis = left_basis(d);
    ASSERT_EQ(basis.rank(), std::min(m, n));
    EXPECT_NEAR(basis.energy, d.square().sum().item<double>(), 1e-10 * basis.energy);
    for (int64_t k = 1; k <= basis.rank(); ++k) {
      const double value = s[k - 1].item<double>();
      EXPECT_NEAR(basis.squares[static_cast<size_t>(k - 1)], value * value, 1e-10 * basis.energy);
      if (k % 5 && k < basis.rank()) continue;
      const at::Tensor mine = projector(basis.vectors.narrow(1, 0, k));
      EXPECT_LT(largest(mine - projector(u.narrow(1, 0, k))), 1e-10) << m << " " << n << " " << k;
    }
    const at::Tensor gram = at::mm(basis.vectors.t(), basis.vectors);
    EXPECT_LT(largest(gram - at::eye(basis.rank(), at::kDouble)), 1e-13);
  }
}

// A tall matrix whose directions differ by six orders of magnitude: D R S^-1 alone would leave its
// last columns far from orthogonal.
TEST(LeftBasis, StaysOrthonormalWhereSingularValuesAreFarApart) {
  const at::Tensor s = at::logspace(0, -6, 12, 10.0, at::kDouble);
  const at::Tensor u = orthonormal_columns(300, 12, 1), v = orthonormal_columns(12, 12, 2);
  const LeftBasis basis = left_basis(at::mm(u * s, v.t()));
  ASSERT_EQ(basis.rank(), 12);
  EXPECT_LT(largest(at::mm(basis.vectors.t(), basis.vectors) - at::eye(12, at::kDouble)), 1e-13);
  EXPECT_LT(largest(projector(basis.vectors.narrow(1, 0, 6)) - projector(u.narrow(1, 0, 6))), 1e-8);
}

TEST(LeftBasis, OfFactorsIsThatOfTheirProduct) {
  for (const int64_t rank : {1, 4, 40}) {
    const LowRankDelta delta{normal_matrix(rank, 30, 5).to(at::kFloat),
                             normal_matrix(24, rank, 6).to(at::kFloat), 0.7};
    const LeftBasis thin = left_basis(Delta(delta));
    const LeftBasis full =
        left_basis(at::mm(delta.b.to(at::kDouble), delta.a.to(at::kDouble)) * 0.7);
    ASSERT_EQ(thin.rank(), std::min<int64_t>(rank, 24));
    EXPECT_NEAR(thin.energy, full.energy, 1e-10 * full.energy);
    EXPECT_LT(largest(projector(thin.vectors) - projector(full.vectors)), 1e-10);
    for (size_t i = 0; i < thin.squares.size(); ++i)
      EXPECT_NEAR(thin.squares[i], full.squares[i], 1e-10 * full.energy);
  }
}

TEST(LeftBasis, OfSomeRowsIsThatOfTheWhole) {
  const at::Tensor values = normal_matrix(3, 10, 8).to(at::kFloat);
  const at::Tensor index = at::tensor({7, 0, 4}, at::kLong);
  const RowsDelta delta{index, values, 9};
  const LeftBasis some = left_basis(Delta(delta));
  const LeftBasis whole = left_basis(tile(Delta(delta), 0, 9));
  EXPECT_LT(largest(projector(some.vectors) - projector(whole.vectors)), 1e-12);
}

TEST(LeftBasis, KnowsItsRank) {
  const at::Tensor d = at::mm(normal_matrix(40, 3, 1), normal_matrix(3, 60, 2));
  EXPECT_EQ(left_basis(d).rank(), 3);
  EXPECT_EQ(left_basis(d.t().contiguous()).rank(), 3);
  EXPECT_EQ(left_basis(at::zeros({4, 5})).rank(), 0);
  EXPECT_EQ(left_basis(at::zeros({4, 5})).energy, 0);
  const LowRankDelta zero{at::zeros({2, 5}), at::ones({4, 2}), 1};
  EXPECT_EQ(left_basis(Delta(zero)).rank(), 0);
}

TEST(LeftBasis, RefusesWhatIsNotFinite) {
  at::Tensor d = at::ones({3, 4});
  d[1][2] = NAN;
  EXPECT_TRUE(error_of([&] { left_basis(d); }).starts_with("data: the difference holds NaN"));
  const LowRankDelta low{d, at::ones({2, 3}), 1};
  EXPECT_TRUE(error_of([&] { left_basis(Delta(low)); }).starts_with("data:"));
}

TEST(EnergyRank, IsTheLeastThatHoldsTheShare) {
  LeftBasis basis{.vectors = at::eye(4, at::kDouble), .squares = {4, 3, 2, 1}, .energy = 10};
  EXPECT_EQ(energy_rank(basis, 0.01), 1);
  EXPECT_EQ(energy_rank(basis, 0.4), 1);
  EXPECT_EQ(energy_rank(basis, 0.41), 2);
  EXPECT_EQ(energy_rank(basis, 0.7), 2);
  EXPECT_EQ(energy_rank(basis, 0.9), 3);
  EXPECT_EQ(energy_rank(basis, 1), 4);
  // Of D's whole energy, not of what was kept.
  basis.energy = 20;
  EXPECT_EQ(energy_rank(basis, 0.35), 2);
}

TEST(FractionRank, RoundsAndIsNeverZero) {
  EXPECT_EQ(fraction_rank(64, 100, 0.01), 1);
  EXPECT_EQ(fraction_rank(64, 100, 0.25), 16);
  EXPECT_EQ(fraction_rank(100, 10, 0.25), 2);  // as Python rounds 2.5
  EXPECT_EQ(fraction_rank(100, 10, 0.99), 10);
}

}  // namespace
}  // namespace smidgen
