#include "smidgen/delta/subspace/projection.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/subspace/selectivity.h"
#include "smidgen/delta/subspace/subspace_checks_test.h"

namespace smidgen {
namespace {

at::Tensor dense(const Delta& delta) {
  return tile(delta, 0, rows(delta)).to(at::kDouble);
}
double square(const Delta& delta) {
  return dense(delta).square().sum().item<double>();
}

constexpr Directions kAll[] = {Directions::top, Directions::random_k, Directions::random};

TEST(Projection, IsIdempotentAndSplitsTheEnergy) {
  const LeftBasis v = left_basis(normal_matrix(24, 40, 1));
  const Delta u = DenseDelta{normal_matrix(24, 40, 2).to(at::kFloat)};
  for (const Directions kind : kAll) {
    for (const double fraction : standard_fractions()) {
      const at::Tensor q = directions(v, 40, {kind, fraction, 7}, "w");
      ASSERT_EQ(q.size(1), fraction_rank(24, 40, fraction));
      EXPECT_LT(largest(at::mm(q.t(), q) - at::eye(q.size(1), at::kDouble)), 1e-12);
      const Delta same = project(q, u, ProjectionMode::same);
      const Delta orth = project(q, u, ProjectionMode::orth);
      EXPECT_LT(largest(dense(project(q, same, ProjectionMode::same)) - dense(same)), 1e-6);
      EXPECT_LT(largest(dense(project(q, orth, ProjectionMode::same))), 1e-6);
      EXPECT_LT(largest(dense(same) + dense(orth) - dense(u)), 1e-6);
      EXPECT_LT(largest(dense(same) + dense(project(q, u, ProjectionMode::opp))), 1e-12);
      EXPECT_NEAR(square(same) + square(orth), square(u), 1e-6 * square(u));
    }
  }
}

TEST(Projection, OfALoraIsALora) {
  const LeftBasis v = left_basis(normal_matrix(24, 40, 1));
  const LowRankDelta u{normal_matrix(4, 40, 2).to(at::kFloat),
                       normal_matrix(24, 4, 3).to(at::kFloat), 0.5};
  const at::Tensor q = directions(v, 40, {Directions::top, 0.25, 0}, "w");
  for (const auto mode : {ProjectionMode::same, ProjectionMode::orth, ProjectionMode::opp}) {
    const Delta low = project(q, u, mode);
    ASSERT_TRUE(std::holds_alternative<LowRankDelta>(low));
    EXPECT_TRUE(at::equal(std::get<LowRankDelta>(low).a, u.a));
    const Delta full = project(q, DenseDelta{tile(u, 0, 24)}, mode);
    EXPECT_LT(largest(dense(low) - dense(full)), 1e-5);
  }
}

TEST(Projection, OfAVectorIsAlongTheOther) {
  const at::Tensor v = normal_matrix(9, 1, 1), u = normal_matrix(9, 1, 2);
  const at::Tensor q = directions(left_basis(v), 1, {Directions::top, 0.5, 0}, "w");
  const at::Tensor want = v * ((u * v).sum() / (v * v).sum());
  EXPECT_LT(largest(dense(project(q, DenseDelta{u.to(at::kFloat)}, ProjectionMode::same)) - want),
            1e-6);
}

TEST(Projection, DrawsAreNestedAndKeyed) {
  const LeftBasis v = left_basis(normal_matrix(30, 20, 1));
  for (const Directions kind : {Directions::random_k, Directions::random}) {
    const at::Tensor few = directions(v, 20, {kind, 0.25, 7}, "w");
    const at::Tensor many = directions(v, 20, {kind, 0.75, 7}, "w");
    EXPECT_LT(largest(few - many.narrow(1, 0, few.size(1))), 1e-12);
    EXPECT_GT(largest(few - directions(v, 20, {kind, 0.25, 8}, "w")), 1e-3);
    EXPECT_GT(largest(few - directions(v, 20, {kind, 0.25, 7}, "x")), 1e-3);
  }
}

TEST(Sweep, IsWhatTheProjectionsKeep) {
  const at::Tensor v = normal_matrix(24, 40, 1), u = normal_matrix(24, 40, 2) + 0.3 * v;
  const auto update = update_of("u", {{"h.0.w", u}, {"h.1.w", u * 2}, {"b", u.select(1, 0)}});
  const auto alignment = update_of("v", {{"h.0.w", v}, {"h.1.w", v}, {"b", v.select(1, 0)}});
  const Sweep found = sweep(*update, *alignment, standard_fractions(), 5);
  ASSERT_EQ(found.rows.size(), 15u);
  double before = -1;
  for (const SweepRow& row : found.rows) {
    const auto same = projected(update, alignment, row.subspace, ProjectionMode::same);
    const auto orth = projected(update, alignment, row.subspace, ProjectionMode::orth);
    double kept = 0, rest = 0, all = 0, first_block = 0;
    for (const UpdateTensor& tensor : update->tensors()) {
      kept += square(*same->read(tensor.name));
      rest += square(*orth->read(tensor.name));
      all += square(*update->read(tensor.name));
      if (tensor.name == "h.0.w") first_block = square(*orth->read(tensor.name));
    }
    EXPECT_NEAR(row.parallel, kept / all, 1e-6);
    EXPECT_NEAR(1 - row.parallel, rest / all, 1e-6);
    EXPECT_NEAR(row.removed_by_block.at("h.0"), first_block, 1e-5 * all);
    if (row.subspace.directions == Directions::top && row.subspace.fraction > 0.01) {
      EXPECT_GE(row.parallel, before);
    }
    before = row.parallel;
  }
  const double uu =
      5 * u.square().sum().item<double>() + u.select(1, 0).square().sum().item<double>();
  const double uv = 3 * (u * v).sum().item<double>() + (u * v).select(1, 0).sum().item<double>();
  EXPECT_NEAR(found.update, std::sqrt(uu), 1e-5 * std::sqrt(uu));
  EXPECT_NEAR(found.cosine, uv / (found.update * found.alignment), 1e-6);
  EXPECT_GT(found.cosine, 0.1);
}

TEST(Sweep, SaysWhatCannotBeSplit) {
  const at::Tensor a = normal_matrix(4, 6, 1);
  const auto u = update_of("u", {{"w", a}, {"x", a}});
  EXPECT_EQ(sweep(*u, *update_of("v", {{"w", a}}), {0.5}).without_alignment,
            std::vector<std::string>{"x"});
  EXPECT_TRUE(error_of([&] {
                sweep(*u, *update_of("v", {{"y", a}}), {0.5});
              }).starts_with("data: the alignment is zero"));
  EXPECT_TRUE(error_of([&] {
                sweep(*u, *update_of("v", {{"w", a.t()}}), {0.5});
              }).starts_with("mismatch: the shape is [4, 6] in the update"));
  EXPECT_TRUE(error_of([&] { sweep(*u, *u, {1.0}); }).starts_with("usage: a fraction of 1"));
}

TEST(Projection, NamesWhatIsNotFinite) {
  const at::Tensor a = normal_matrix(4, 6, 1);
  at::Tensor broken = a.clone();
  broken[1][2] = NAN;
  const auto whole = update_of("whole", {{"w", a}}), torn = update_of("torn", {{"w", broken}});
  const auto read = [](const std::shared_ptr<const Update>& u,
                       const std::shared_ptr<const Update>& v) {
    return error_of([&] { projected(u, v, {.fraction = 0.5}, ProjectionMode::orth)->read("w"); });
  };
  EXPECT_TRUE(read(torn, whole).starts_with("data: the update holds NaN or infinity in torn (w)"));
  EXPECT_TRUE(read(whole, torn)
                  .starts_with("data: the difference holds NaN or infinity in the "
                               "alignment (w)"));
  EXPECT_TRUE(error_of([&] {
                sweep(*torn, *whole, {0.5});
              }).starts_with("data: the update holds NaN or infinity in torn (w)"));
}

// Utility and harm are how far an update goes along two planted updates.
struct Planted {
  std::shared_ptr<const Update> update, alignment;
  Evaluator evaluate;
};

Planted planted(bool useful_in_alignment) {
  const at::Tensor s = orthonormal_columns(40, 4, 1);
  const at::Tensor other = orthonormal_columns(40, 12, 2);
  // Directions outside of the alignment's span.
  const at::Tensor outside = other - at::mm(s, at::mm(s.t(), other));
  const at::Tensor v = at::mm(s, normal_matrix(4, 60, 3));
  const at::Tensor harmful = at::mm(s, normal_matrix(4, 60, 4));
  const at::Tensor useful = useful_in_alignment ? at::mm(s, normal_matrix(4, 60, 5))
                                                : at::mm(outside, normal_matrix(12, 60, 5));
  const auto along = [](const Update* update, const at::Tensor& want) {
    if (!update) return 0.0;
    const at::Tensor u = dense(*update->read("w"));
    return (u * want).sum().item<double>() / want.square().sum().item<double>();
  };
  const auto only = [](const at::Tensor& mine, const at::Tensor& theirs) {
    return mine - theirs * ((mine * theirs).sum() / theirs.square().sum());
  };
  const at::Tensor u = only(useful, harmful), h = only(harmful, useful);
  return {update_of("tuned", {{"w", useful + harmful}}), update_of("aligned", {{"w", v}}),
          [=](const Update* update) { return Scores{along(update, u), along(update, h)}; }};
}

TEST(Selectivity, IsTheDifferenceOfShares) {
  EXPECT_DOUBLE_EQ(selectivity({0.2, 1}, {0.6, 2}, {0.6, 1}), 1);
  EXPECT_NEAR(selectivity({0.2, 1}, {0.6, 2}, {0.4, 1.5}), 0, 1e-15);
  EXPECT_DOUBLE_EQ(selectivity({0.2, 1}, {0.6, 2}, {0.2, 2}), -1);
  EXPECT_TRUE(error_of([] { selectivity({0.2, 1}, {0.6, 1}, {0.4, 1}); }).starts_with("data:"));
}

// The harmful update lies in the alignment's span, the useful one outside it.
TEST(Selectivity, PositiveControlIsSelective) {
  const Planted p = planted(false);
  const Verdict verdict = judge(p.update, p.alignment, p.evaluate, {0.1, 0.25, 0.5}, 3);
  EXPECT_TRUE(verdict.selective);
  EXPECT_NEAR(verdict.rows[0].index, 1, 1e-5);  // k = 4: all of the span
  EXPECT_GT(verdict.difference, 0.9);
  EXPECT_TRUE(verdict.line().starts_with("selective: S is "));
}

// Both lie in it.
TEST(Selectivity, NegativeControlIsNot) {
  const Planted p = planted(true);
  const Verdict verdict = judge(p.update, p.alignment, p.evaluate, {0.1, 0.25, 0.5}, 3);
  EXPECT_FALSE(verdict.selective);
  EXPECT_NEAR(verdict.rows[0].index, 0, 1e-5);
  EXPECT_LT(std::abs(verdict.difference), 0.2);
  EXPECT_TRUE(verdict.line().starts_with("not selective: S is "));
}

}  // namespace
}  // namespace smidgen
