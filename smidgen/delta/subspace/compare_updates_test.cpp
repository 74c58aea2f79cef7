#include "smidgen/delta/subspace/compare_updates.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/subspace/delta_sums.h"
#include "smidgen/delta/subspace/subspace_checks_test.h"

namespace smidgen {
namespace {

LowRankDelta factors(int64_t m, int64_t n, int64_t r, uint64_t seed, double scale = 1) {
  return {normal_matrix(r, n, seed).to(at::kFloat), normal_matrix(m, r, seed + 1).to(at::kFloat),
          scale};
}

at::Tensor dense(const LowRankDelta& d) {
  return at::mm(d.b.to(at::kDouble), d.a.to(at::kDouble)) * d.scale;
}

TEST(DeltaSums, OfFactorsAreThoseOfTheProduct) {
  const LowRankDelta a = factors(30, 50, 4, 1, 0.5), b = factors(30, 50, 7, 3, -2);
  const at::Tensor x = dense(a), y = dense(b);
  const SignCount signs = compare_signs(a, b);
  EXPECT_EQ(signs.both, 1500);
  EXPECT_EQ(signs.agree, (x * y).gt(0).sum().item<int64_t>());
}

TEST(DeltaSums, ZerosHaveNoSign) {
  const DenseDelta a{at::tensor({1.f, -1.f, 0.f, 2.f, -0.f}).view({1, -1})};
  const DenseDelta b{at::tensor({3.f, 1.f, 5.f, 0.f, -1.f}).view({1, -1})};
  const SignCount signs = compare_signs(a, b);
  EXPECT_EQ(signs.both, 2);
  EXPECT_EQ(signs.agree, 1);
}

// -1, 0 and 1 in rows of more than one word.
TernaryDelta ternary(int64_t m, int64_t n, uint64_t seed, double scale) {
  const at::Tensor normal = normal_matrix(m, n, seed);
  TernaryDelta out{at::zeros({m, (n + 63) / 64}, at::kLong),
                   at::zeros({m, (n + 63) / 64}, at::kLong), n, scale};
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const double value = normal[i][j].item<double>();
      if (std::abs(value) < 0.7) continue;
      int64_t* word = (value > 0 ? out.positive : out.negative).mutable_data_ptr<int64_t>() +
                      i * out.positive.size(1) + j / 64;
      *word |= static_cast<int64_t>(uint64_t{1} << (j % 64));
    }
  }
  return out;
}

TEST(DeltaSums, SignsOfTernaryDeltasAreThoseOfTheirValues) {
  for (const double scale : {0.5, -0.5}) {
    const Delta a = ternary(7, 100, 1, 0.25), b = ternary(7, 100, 2, scale);
    const SignCount bits = compare_signs(a, b);
    const SignCount values = compare_signs(DenseDelta{tile(a, 0, 7)}, DenseDelta{tile(b, 0, 7)});
    EXPECT_GT(bits.both, 50);
    EXPECT_EQ(bits.both, values.both);
    EXPECT_EQ(bits.agree, values.agree);
  }
  const SignCount none = compare_signs(ternary(7, 100, 1, 0.25), ternary(7, 100, 2, 0));
  EXPECT_EQ(none.both, 0);
}

TEST(DeltaSums, TernaryDeltasHaveABasis) {
  const Delta delta = ternary(12, 70, 1, 0.25);
  const LeftBasis bits = left_basis(delta), values = left_basis(tile(delta, 0, 12));
  EXPECT_EQ(bits.squares, values.squares);
  EXPECT_TRUE(at::equal(bits.vectors, values.vectors));
}

TEST(DeltaSums, StacksStayLowRank) {
  const Delta a = factors(5, 12, 2, 1, 0.5), b = factors(7, 12, 3, 3);
  const Delta low = stack({{5, &a}, {4, nullptr}, {7, &b}}, 12);
  ASSERT_TRUE(std::holds_alternative<LowRankDelta>(low));
  EXPECT_EQ(std::get<LowRankDelta>(low).a.size(0), 5);
  const at::Tensor want = at::cat({tile(a, 0, 5), at::zeros({4, 12}), tile(b, 0, 7)});
  EXPECT_LT(largest(tile(low, 0, 16) - want), 1e-6);
  const Delta c = factors(7, 12, 3, 3, 0.5);
  const Delta common = stack({{5, &a}, {7, &c}}, 12);
  EXPECT_EQ(std::get<LowRankDelta>(common).scale, 0.5);
  EXPECT_LT(largest(tile(common, 0, 12) - at::cat({tile(a, 0, 5), tile(c, 0, 7)})), 1e-6);
  const Delta full = DenseDelta{tile(b, 0, 7)};
  EXPECT_LT(largest(tile(stack({{5, &a}, {4, nullptr}, {7, &full}}, 12), 0, 16) - want), 1e-6);
}

TEST(Blocks, AreNamesUpToTheFirstNumber) {
  EXPECT_EQ(block_of("model.layers.11.self_attn.q_proj.weight"), "model.layers.11");
  EXPECT_EQ(block_of("transformer.h.0.mlp.experts.3.w1"), "transformer.h.0");
  EXPECT_EQ(block_of("model.embed_tokens.weight"), "");
  EXPECT_EQ(block_of("layer1x.2y.w"), "");
  EXPECT_EQ(block_of(""), "");
}

TEST(CompareUpdates, FactorsAndTheirProductsAgree) {
  std::map<std::string, LowRankDelta> a, b;
  std::vector<std::pair<std::string, at::Tensor>> da, db;
  for (const int layer : {0, 1}) {
    for (const char* name : {"q", "v"}) {
      const std::string full = str("h.", layer, ".", name);
      a[full] = factors(24, 40, 3, 10 * static_cast<uint64_t>(layer) + (name[0] == 'q'), 0.3);
      b[full] = factors(24, 40, 5, 100 + 10 * static_cast<uint64_t>(layer) + (name[0] == 'q'));
      da.emplace_back(full, dense(a[full]));
      db.emplace_back(full, dense(b[full]));
    }
  }
  for (const auto unit : {CompareOptions::Unit::tensor, CompareOptions::Unit::block}) {
    const CompareOptions options{.energies = {0.3, 0.9, 0.999}, .unit = unit};
    const Comparison thin =
        compare_updates({update_of_factors("a", a), update_of_factors("b", b)}, options);
    const Comparison full = compare_updates({update_of("a", da), update_of("b", db)}, options);
    ASSERT_EQ(thin.rows.size(), unit == CompareOptions::Unit::tensor ? 4u : 2u);
    ASSERT_EQ(thin.blocks.size(), 2u);
    for (size_t i = 0; i < thin.rows.size(); ++i) {
      EXPECT_EQ(thin.rows[i].name, full.rows[i].name);
      EXPECT_EQ(thin.rows[i].ranks, full.rows[i].ranks);
      EXPECT_NEAR(thin.rows[i].squares[0], full.rows[i].squares[0], 1e-6 * full.rows[i].squares[0]);
      for (size_t k = 0; k < 3; ++k) {
        EXPECT_NEAR(thin.rows[i].pairs[0].overlaps[k].value,
                    full.rows[i].pairs[0].overlaps[k].value, 1e-6);
        EXPECT_EQ(thin.rows[i].pairs[0].overlaps[k].random,
                  full.rows[i].pairs[0].overlaps[k].random);
      }
    }
    EXPECT_NEAR(thin.all.pairs[0].dot, full.all.pairs[0].dot, 1e-6 * thin.all.squares[0]);
  }
}

TEST(CompareUpdates, TotalsAreSumsAndMeans) {
  const at::Tensor a = normal_matrix(8, 9, 1), b = normal_matrix(8, 9, 2);
  const auto x = update_of("x", {{"h.0.w", a}, {"h.1.w", a}, {"h.0.norm", a.select(1, 0)}});
  const auto y = update_of("y", {{"h.0.w", b}, {"h.1.w", a}, {"h.0.norm", a.select(1, 0)}});
  const Comparison c = compare_updates({x, y}, {.energies = {0.5, 1}});
  const double aa = a.square().sum().item<double>(), ab = (a * b).sum().item<double>();
  const double vv = a.select(1, 0).square().sum().item<double>();
  EXPECT_NEAR(c.all.pairs[0].dot, ab + aa + vv, 1e-5 * aa);
  EXPECT_NEAR(c.all.squares[0], 2 * aa + vv, 1e-5 * aa);
  // A vector has a cosine, and no subspace beyond it.
  EXPECT_EQ(c.all.pairs[0].counted, 2);
  EXPECT_NEAR(c.all.pairs[0].overlap[0], (c.rows[0].pairs[0].overlaps[0].value + 1) / 2, 1e-9);
  EXPECT_EQ(c.blocks[0].name, "h.0");
  EXPECT_NEAR(*cosine(c.blocks[1].pairs[0].dot, c.blocks[1].squares[0], c.blocks[1].squares[1]), 1,
              1e-9);
  const Json json = c.to_json();
  EXPECT_TRUE(json["tensors"][2]["pairs"][0]["overlap"].is_null());
  EXPECT_EQ(json["all"]["pairs"][0]["counted"], 2);
}

TEST(CompareUpdates, SaysWhatCannotBeCompared) {
  const at::Tensor a = normal_matrix(4, 6, 1);
  const auto one = update_of("one", {{"w", a}});
  const auto compare = [&](const std::shared_ptr<const Update>& other) {
    return error_of([&] { compare_updates({one, other}); });
  };
  EXPECT_TRUE(compare(update_of("other", {{"w", a.t()}}))
                  .starts_with("mismatch: the shape is [6, 4] in other"));
  EXPECT_TRUE(compare(update_of("other", {{"v", a}}))
                  .starts_with("mismatch: one and other change no tensor in common"));
  EXPECT_TRUE(compare(update_of("other", {{"w", at::zeros({4, 6})}}))
                  .starts_with("data: it does not differ from the base"));
  at::Tensor broken = a.clone();
  broken[0][0] = NAN;
  EXPECT_TRUE(compare(update_of("other", {{"w", broken}}))
                  .starts_with("data: the difference holds NaN or infinity in other (w)"));
}

TEST(CompareUpdates, NamesTheTensorOfAStackThatIsBroken) {
  const at::Tensor a = normal_matrix(4, 6, 1);
  at::Tensor broken = a.clone();
  broken[3][0] = INFINITY;
  const auto fine = update_of("fine", {{"h.0.q", a}, {"h.0.v", a}});
  const auto other = update_of("other", {{"h.0.q", a}, {"h.0.v", broken}});
  EXPECT_TRUE(error_of([&] {
                compare_updates({fine, other}, {.unit = CompareOptions::Unit::block});
              }).starts_with("data: the difference holds NaN or infinity in other (h.0.v)"));
}

TEST(ModelUpdate, SaysWhatHasNoDifference) {
  const at::Tensor a = normal_matrix(4, 6, 1);
  const auto base = memory_source("base", {{"w", a}, {"only_base", a}});
  const auto update = model_update(memory_source("m", {{"w", a + 1}, {"only_model", a}}), base);
  EXPECT_EQ(update->left_out(), (std::vector<std::string>{"only_model", "only_base"}));
  EXPECT_LT(largest(tile(*update->read("w"), 0, 4) - 1), 1e-6);
  EXPECT_FALSE(update->read("only_model"));
  EXPECT_TRUE(error_of([&] {
                model_update(memory_source("m", {{"w", a.t()}}), base);
              }).starts_with("mismatch: the shape is [6, 4] in m and [4, 6] in base (w)"));
  EXPECT_TRUE(error_of([&] {
                model_update(memory_source("m", {{"v", a}}), base);
              }).starts_with("mismatch: no tensor is in both m and base"));
}

TEST(ModelUpdate, RefusesAnotherArchitecture) {
  const at::Tensor a = normal_matrix(4, 6, 1);
  const std::vector<std::pair<std::string, at::Tensor>> one = {{"h.0.w", a}},
                                                        two = {{"h.0.w", a}, {"h.1.w", a}};
  const auto found = [&](const std::shared_ptr<const Source>& model,
                         const std::shared_ptr<const Source>& base) {
    return error_of([&] { model_update(model, base); });
  };
  const Json llama = {{"model_type", "llama"}}, qwen = {{"model_type", "qwen2"}};
  EXPECT_TRUE(found(memory_source("m", one, llama), memory_source("b", one, qwen))
                  .starts_with("mismatch: m is of the family \"llama\", and b of \"qwen2\""));
  EXPECT_EQ(found(memory_source("m", one, llama), memory_source("b", one, llama)), "no error");
  EXPECT_EQ(found(memory_source("m", one, llama), memory_source("b", one)), "no error");
  EXPECT_TRUE(found(memory_source("m", two), memory_source("b", one))
                  .starts_with("mismatch: m has a block that b has not (h.1)"));
  EXPECT_TRUE(found(memory_source("m", one), memory_source("b", two))
                  .starts_with("mismatch: b has a block that m has not (h.1)"));
}

}  // namespace
}  // namespace smidgen
