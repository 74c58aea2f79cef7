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
  const auto attachment = lora().attach(plan.sites[0], {a, b});
  const at::Tensor expected =
      at::matmul(x.to(at::kDouble), at::matmul(b.to(at::kDouble), a.to(at::kDouble)).t()) * 1.5;
  EXPECT_LT((attachment->add(x, {}, {a, b}).to(at::kDouble) - expected).abs().max().item<double>(),
            1e-5);
}

TEST(Lora, HandWrittenBackwardEqualsTheDefault) {
  const Plan plan = lora().plan(sites(), {{"rank", 2}, {"alpha", 3}}, false);
  const at::Tensor a = at::randn({2, 4}).requires_grad_(), b = at::randn({6, 2}).requires_grad_();
  const at::Tensor x = at::randn({7, 4}), dy = at::randn({7, 6});
  const auto attachment = lora().attach(plan.sites[0], {a, b});
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
  lora().init(plan.sites[0], p, {}, {}, 7);
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
  Json kept;
  const Json back = lora().from_peft(peft, {}, "adapter_config.json", &kept);
  EXPECT_EQ(back.at("rank"), 4);
  EXPECT_EQ(back.at("alpha"), 16.0);
  EXPECT_EQ(back.at("target"), Json({"q_proj", "up_proj"}));
}

TEST(Lora, RefusesWhatItCannotRead) {
  const Json base = {{"r", 4}, {"lora_alpha", 8}, {"target_modules", {"q_proj"}}};
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"use_dora", true},
                                                 {"init_lora_weights", "pissa"},
                                                 {"bias", "all"},
                                                 {"modules_to_save", {"lm_head"}},
                                                 {"target_parameters", {"experts"}},
                                                 {"layer_replication", {{0, 4}}}}) {
    Json config = base;
    config[key] = value;
    Json kept;
    try {
      lora().from_peft(config, {}, "adapter_config.json", &kept);
      ADD_FAILURE() << key << " was let through";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace smidgen
