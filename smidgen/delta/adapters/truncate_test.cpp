#include "smidgen/delta/adapters/truncate.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace smidgen {
namespace {

at::Tensor drawn(int64_t rows, int64_t columns, uint64_t seed) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn({rows, columns}, generator, at::kFloat);
}

at::Tensor dense(const Decomposition& d) {
  return at::matmul(d.u * d.s, d.v);
}

double off(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

void expect_best(const Decomposition& d, const at::Tensor& matrix, int64_t rank) {
  const at::Tensor exact = at::linalg_svdvals(matrix.to(at::kDouble));
  const int64_t kept = std::min(rank, exact.size(0));
  const double left2 = exact.narrow(0, kept, exact.size(0) - kept).square().sum().item<double>();
  const double norm2 = exact.square().sum().item<double>();
  ASSERT_EQ(d.s.size(0), kept);
  EXPECT_LT((d.s - exact.narrow(0, 0, kept)).abs().max().item<double>(),
            1e-7 * exact[0].item<double>());
  EXPECT_NEAR(d.norm2, norm2, 1e-6 * norm2);
  EXPECT_NEAR(d.left2, left2, 1e-6 * norm2);
  // As near as a matrix of this rank can be.
  const double miss2 = (dense(d) - matrix).square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(miss2), std::sqrt(left2), 1e-6 * std::sqrt(norm2));
  const at::Tensor eye = at::eye(kept, at::kDouble);
  EXPECT_LT((at::matmul(d.u.t(), d.u) - eye).abs().max().item<double>(), 1e-6);
  EXPECT_LT((at::matmul(d.v, d.v.t()) - eye).abs().max().item<double>(), 1e-6);
}

TEST(Truncate, DenseMatricesOfAnyForm) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{40, 24}, {24, 40}, {32, 32}, {1, 9}, {9, 1}}) {
    const at::Tensor m = drawn(rows, columns, 1);
    for (const int64_t rank : {1, 7, 24, 99}) {
      SCOPED_TRACE(testing::Message() << rows << " " << columns << " rank " << rank);
      expect_best(decompose(m, rank), m, rank);
    }
  }
}

TEST(Truncate, AllSingularValuesGiveTheMatrix) {
  // Singular values over eight orders of magnitude: the small ones must not be lost.
  const at::Tensor scale = at::pow(10.0, -at::arange(20) * 0.4).to(at::kFloat);
  const at::Tensor m = at::matmul(drawn(30, 20, 2) * scale, drawn(20, 20, 3));
  EXPECT_LT(off(dense(decompose(m, 20)), m), 1e-7);
}

// Long enough for the subspace iteration.
TEST(Truncate, ASubspaceIsAsGoodAsAllOfThem) {
  const at::Tensor noise = drawn(640, 700, 10) * 0.01;
  const at::Tensor low = at::matmul(drawn(640, 24, 11), drawn(24, 700, 12)) * 0.1;
  const at::Tensor falling = at::matmul(
      drawn(640, 640, 13) * at::pow(0.97, at::arange(640)).to(at::kFloat), drawn(640, 700, 14));
  for (const at::Tensor& m : {noise, low + noise, falling, (low + noise).t().contiguous()}) {
    const at::Tensor exact = at::linalg_svdvals(m.to(at::kDouble));
    const double best = exact.narrow(0, 16, 624).square().sum().item<double>();
    const Decomposition d = decompose(m, 16);
    const double miss2 = (dense(d) - m).square().sum().item<double>();
    EXPECT_LT(std::abs(miss2 / best - 1), 1e-4);
    EXPECT_LT(std::abs(d.left2 / best - 1), 1e-4);
    EXPECT_LT((d.s / exact.narrow(0, 0, 16) - 1).abs().max().item<double>(), 1e-2);
  }
  const Decomposition all = decompose(low, 32);
  EXPECT_LT(off(dense(all), low), 1e-6);
  EXPECT_LT(std::sqrt(all.left2 / all.norm2), 1e-6);
}

TEST(Truncate, ProductsWithoutMakingThemDense) {
  for (const auto& [out, in, rank] :
       {std::tuple<int64_t, int64_t, int64_t>{50, 40, 6}, {8, 40, 20}, {40, 8, 20}}) {
    const LowRankDelta p{drawn(rank, in, 4), drawn(out, rank, 5), -1.5};
    const at::Tensor whole = at::matmul(p.b.to(at::kDouble), p.a.to(at::kDouble)) * p.scale;
    const int64_t full = std::min({out, in, rank});
    for (const int64_t kept : {int64_t{1}, full / 2, full})
      expect_best(decompose(p, kept), whole, kept);
    EXPECT_EQ(decompose(p, 999).s.size(0), full);
  }
}

TEST(Truncate, WhatCancelsLeavesNothing) {
  const at::Tensor a = drawn(3, 20, 6), b = drawn(30, 3, 7);
  const LowRankDelta nothing{at::cat({a, -a}, 0), at::cat({b, b}, 1), 1};
  EXPECT_EQ(decompose(nothing, 6).s.size(0), 0);
  EXPECT_EQ(decompose(at::zeros({5, 4}), 3).s.size(0), 0);
  const LowRankDelta zero{at::zeros({2, 4}), at::zeros({5, 2}), 1};
  EXPECT_EQ(decompose(zero, 2).s.size(0), 0);
}

TEST(Truncate, ScaleGoesWhereAsked) {
  const at::Tensor m = drawn(12, 9, 8);
  const Decomposition d = decompose(m, 9);
  for (const ScaleOn on : {ScaleOn::a, ScaleOn::b, ScaleOn::both}) {
    const LowRankDelta f = factors(d, on);
    EXPECT_LT(off(at::matmul(f.b, f.a), m), 1e-6);
    const double a = f.a[0].norm().item<double>(), b = f.b.select(1, 0).norm().item<double>();
    const double s = d.s[0].item<double>(), root = std::sqrt(s);
    EXPECT_NEAR(a, on == ScaleOn::a ? s : on == ScaleOn::both ? root : 1, 1e-5 * s);
    EXPECT_NEAR(b, on == ScaleOn::b ? s : on == ScaleOn::both ? root : 1, 1e-5 * s);
  }
}

TEST(Truncate, FirstCutsAndCounts) {
  const at::Tensor m = drawn(12, 9, 9);
  const Decomposition all = decompose(m, 9), cut = all.first(4), direct = decompose(m, 4);
  EXPECT_EQ(cut.s.size(0), 4);
  EXPECT_NEAR(cut.left2, direct.left2, 1e-6 * all.norm2);
  EXPECT_TRUE(at::allclose(dense(cut), dense(direct), 1e-6, 1e-6));
}

}  // namespace
}  // namespace smidgen
