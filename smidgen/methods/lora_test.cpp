#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/methods/registry.h"

namespace smidgen {
namespace {

const Method& lora() {
  return methods().find("lora");
}

std::vector<Site> sites() {
  return {{.name = "model.layers.0.self_attn.q_proj", .out = 6, .in = 4, .layer = 0},
          {.name = "model.layers.0.mlp.up_proj", .out = 5, .in = 4, .layer = 0},
          {.name = "lm_head", .out = 9, .in = 4, .output_head = true}};
}

TEST(Lora, PlansEveryLinearLayerButTheHead) {
  const Plan plan = lora().plan(sites(), {{"rank", 3}}, false);
  ASSERT_EQ(plan.sites.size(), 2u);
  EXPECT_EQ(plan.sites[0].parameters[0].path(), "model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(plan.sites[0].parameters[0].shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(plan.sites[0].parameters[1].shape, (std::vector<int64_t>{6, 3}));
}

TEST(Lora, NamesTheNearestModuleOfAMisspeltTarget) {
  try {
    lora().plan(sites(), {{"target", {"q_porj"}}}, false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(e.hint().find("q_proj"), std::string::npos) << e.hint();
  }
}

TEST(Lora, ScaleIsAlphaOverRankOrItsRoot) {
  EXPECT_DOUBLE_EQ(
      lora().plan(sites(), {{"rank", 4}, {"alpha", 6}}, false).sites[0].settings["scale"], 1.5);
  EXPECT_DOUBLE_EQ(lora()
                       .plan(sites(), {{"rank", 4}, {"alpha", 6}, {"rslora", true}}, false)
                       .sites[0]
                       .settings["scale"],
                   3.0);
}

TEST(Lora, AddIsTheProductOfItsFactors) {
  const Plan plan = lora().plan(sites(), {{"rank", 2}, {"alpha", 3}}, false);
  const at::Tensor a = at::randn({2, 4}), b = at::randn({6, 2}), x = at::randn({7, 4});
  const auto attachment = lora().attach(plan.sites[0], {a, b}, {}, {});
  const at::Tensor expected =
      at::matmul(x.to(at::kDouble), at::matmul(b.to(at::kDouble), a.to(at::kDouble)).t()) * 1.5;
  EXPECT_LT((attachment->add(x, {}, {a, b}).to(at::kDouble) - expected).abs().max().item<double>(),
            1e-5);
}

TEST(Lora, HandWrittenBackwardEqualsTheDefault) {
  const Plan plan = lora().plan(sites(), {{"rank", 2}, {"alpha", 3}}, false);
  const at::Tensor a = at::randn({2, 4}).requires_grad_(), b = at::randn({6, 2}).requires_grad_();
  const at::Tensor x = at::randn({7, 4}), dy = at::randn({7, 6});
  const auto attachment = lora().attach(plan.sites[0], {a, b}, {}, {});
  const auto own = attachment->add_backward(x, {}, {a, b}, dy);
  const auto plain = attachment->Attachment::add_backward(x, {}, {a, b}, dy);
  EXPECT_TRUE(at::allclose(own.dx, plain.dx, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(own.parameters[0], plain.parameters[0], 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(own.parameters[1], plain.parameters[1], 1e-5, 1e-5));
}

TEST(Lora, StartsUniformWithinTheKaimingBoundAndZero) {
  const Plan plan = lora().plan({{.name = "w", .out = 8, .in = 400}}, {{"rank", 50}}, false);
  ParamStore store;
  const auto p = store.add(plan.sites[0].parameters);
  lora().init(plan.sites[0], p, {}, Json::object(), 7);
  const at::Tensor a = p[0]->value().detach();
  EXPECT_LE(a.abs().max().item<float>(), 1.0 / 20);
  EXPECT_NEAR(a.mean().item<float>(), 0, 1e-3);
  EXPECT_NEAR(a.var().item<float>(), 1.0 / 400 / 3, 3e-5);  // of U(-b, b): b^2 / 3
  EXPECT_EQ(p[1]->value().abs().max().item<float>(), 0);
}

TEST(Lora, PeftConfigurationGoesBothWays) {
  const Plan plan = lora().plan(sites(), {{"rank", 4}, {"alpha", 16}}, false);
  const Json peft = lora().to_peft({{"rank", 4}, {"alpha", 16}}, plan);
  EXPECT_EQ(peft.at("r"), 4);
  EXPECT_EQ(peft.at("lora_alpha").dump(), "16");
  EXPECT_EQ(peft.at("target_modules"), Json({"q_proj", "up_proj"}));
  const Json back = lora().from_peft(peft, sites(), {}, "adapter_config.json");
  EXPECT_EQ(back.at("rank"), 4);
  EXPECT_EQ(back.at("alpha"), 16.0);
  EXPECT_EQ(back.at("target"), Json({"q_proj", "up_proj"}));
}

TEST(Lora, RefusesWhatItCannotRead) {
  const Json base = {{"r", 4}, {"lora_alpha", 8}, {"target_modules", {"q_proj"}}};
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"use_dora", true},
                                                 {"init_lora_weights", "pissa_niter_4"},
                                                 {"init_lora_weights", "mica"},
                                                 {"bias", "some"},
                                                 {"target_parameters", {"experts"}},
                                                 {"kasa_config", {{"beta", 1}}},
                                                 {"layer_replication", {{0, 4}}}}) {
    Json config = base;
    config[key] = value;
    try {
      // Not even by asking for it: these change what the tensors mean.
      lora().from_peft(config, sites(), {key}, "adapter_config.json");
      ADD_FAILURE() << key << " was let through";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
    }
  }
}

TEST(Lora, RankAndAlphaFollowTheFirstPatternThatMatches) {
  const Plan plan = lora().plan(sites(),
                                {{"rank", 4},
                                 {"alpha", 6},
                                 {"rank_pattern", {{"layers.0.*up_proj", 3}, {"up_proj", 5}}},
                                 {"alpha_pattern", {{"_proj", 1}, {"model.*q_proj", 9}}}},
                                false);
  EXPECT_EQ(plan.sites[0].parameters[0].shape[0], 4);
  EXPECT_EQ(plan.sites[1].parameters[0].shape[0], 3);
  EXPECT_DOUBLE_EQ(plan.sites[0].settings["scale"], 9.0 / 4) << "a key is no mere ending";
  EXPECT_DOUBLE_EQ(plan.sites[1].settings["scale"], 2.0);
}

TEST(Lora, PatternsWhoseOrderMattersAreWrittenAsWholePaths) {
  const Json config = {{"rank_pattern", {{"up_proj", 3}, {".*_proj", 5}}},
                       {"alpha_pattern", {{"up_proj", 3}, {"q_proj", 9}}}};
  const Json peft = lora().to_peft(config, lora().plan(sites(), config, false));
  EXPECT_EQ(peft.at("rank_pattern"),
            Json({{"model.layers.0.self_attn.q_proj", 5}, {"model.layers.0.mlp.up_proj", 3}}));
  EXPECT_EQ(peft.at("alpha_pattern"), Json({{"up_proj", 3}, {"q_proj", 9}}));
}

TEST(Lora, OrthogonalStartsAreNoOpsOfTwoFactorsThatAreNotZero) {
  const Plan plan = lora().plan({{.name = "w", .out = 9, .in = 12}},
                                {{"rank", 6}, {"init", "orthogonal"}}, false);
  ParamStore store;
  const auto p = store.add(plan.sites[0].parameters);
  lora().init(plan.sites[0], p, {}, {{"init", "orthogonal"}}, 7);
  const at::Tensor a = p[0]->value().detach(), b = p[1]->value().detach();
  EXPECT_GT(a.abs().max().item<float>(), 0.01);
  EXPECT_GT(b.abs().max().item<float>(), 0.01);
  EXPECT_LT(at::matmul(b, a).abs().max().item<float>(), 1e-6);
  EXPECT_THROW(lora().plan(sites(), {{"rank", 5}, {"init", "orthogonal"}}, false), Error);
}

TEST(Lora, GaussianAndRandomStarts) {
  const Plan plan = lora().plan({{.name = "w", .out = 300, .in = 400}}, {{"rank", 50}}, false);
  for (const char* init : {"gaussian", "random"}) {
    ParamStore store;
    const auto p = store.add(plan.sites[0].parameters);
    lora().init(plan.sites[0], p, {}, {{"init", init}}, 7);
    const double a = p[0]->value().detach().std().item<double>();
    const double b = p[1]->value().detach().std().item<double>();
    const bool gaussian = std::string(init) == "gaussian";
    EXPECT_NEAR(a, gaussian ? 1.0 / 50 : 1 / std::sqrt(3 * 400.0), 1e-3) << init;
    EXPECT_NEAR(b, gaussian ? 0 : 1 / std::sqrt(3 * 50.0), 1e-3) << init;
  }
}

TEST(Lora, DropoutScalesWhatItKeepsAndIsTheSameInBothDirections) {
  const Plan plan = lora().plan(sites(), {{"rank", 2}, {"alpha", 3}, {"dropout", 0.4}}, false);
  const auto clock = std::make_shared<DropoutClock>();
  const at::Tensor a = at::randn({2, 4}).requires_grad_(), b = at::randn({6, 2}).requires_grad_();
  const at::Tensor x = at::ones({5000, 4}), dy = at::randn({5000, 6});
  const auto attachment = lora().attach(plan.sites[0], {a, b}, {}, {.clock = clock});
  const at::Tensor whole = attachment->add(x, {}, {a, b}).detach();
  const DropoutScope scope(*clock, 3, 8, 100);
  const at::Tensor mask = dropout_mask(*clock, 0.4, plan.sites[0].site.name, 5000, 4);
  EXPECT_NEAR(mask.mean().item<double>(), 1, 0.02);
  EXPECT_NEAR(mask.eq(0).to(at::kFloat).mean().item<double>(), 0.4, 0.015);
  const at::Tensor dropped = attachment->add(x, {}, {a, b}).detach();
  EXPECT_FALSE(at::equal(dropped, whole));
  EXPECT_LT((dropped.mean(0) - whole.mean(0)).abs().max().item<double>(), 0.2);
  const auto own = attachment->add_backward(x, {}, {a, b}, dy);
  const auto plain = attachment->Attachment::add_backward(x, {}, {a, b}, dy);
  EXPECT_TRUE(at::allclose(own.dx, plain.dx, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(own.parameters[0], plain.parameters[0], 1e-3, 1e-3));
  EXPECT_TRUE(at::allclose(own.parameters[1], plain.parameters[1], 1e-3, 1e-3));
}

TEST(Dropout, TheMaskOfARowIsItsOwnWhereverTheStepIsCut) {
  DropoutClock clock;
  EXPECT_FALSE(dropout_mask(clock, 0.5, "a", 6, 7).defined()) << "off unless somebody trains";
  const DropoutScope scope(clock, 3, 8, 0);
  const at::Tensor whole = dropout_mask(clock, 0.5, "a", 6, 7);
  EXPECT_FALSE(at::equal(whole, dropout_mask(clock, 0.5, "b", 6, 7)));
  EXPECT_FALSE(at::equal(whole.narrow(0, 0, 3), whole.narrow(0, 3, 3)));
  clock.first_row = 2;
  EXPECT_TRUE(at::equal(whole.narrow(0, 2, 4), dropout_mask(clock, 0.5, "a", 4, 7)));
  clock.step = 9;
  EXPECT_FALSE(at::equal(whole.narrow(0, 2, 4), dropout_mask(clock, 0.5, "a", 4, 7)));
}

}  // namespace
}  // namespace smidgen
