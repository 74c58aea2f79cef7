#include "smidgen/methods/placement.h"

#include <gtest/gtest.h>

#include "smidgen/methods/copies.h"

namespace smidgen {
namespace {

std::vector<Site> sites(bool tied = true) {
  std::vector<Site> all = {
      {.name = "model.embed_tokens", .kind = SiteKind::embedding, .out = 9, .in = 4}};
  for (const char* layer : {"0", "1", "11"}) {
    const std::string name = std::string("model.layers.") + layer;
    all.push_back({.name = name + ".norm", .kind = SiteKind::norm, .out = 4, .in = 1});
    all.push_back({.name = name + ".attn.q_proj", .out = 6, .in = 4, .bias = true});
    all.push_back({.name = name + ".experts.1.up_proj", .out = 5, .in = 4});
  }
  all.push_back({.name = "lm_head", .out = 9, .in = 4, .output_head = true});
  if (tied) all.back().tied_to = "model.embed_tokens";
  return all;
}

std::vector<std::string> names(const Placement& placement, bool tied = true) {
  const std::vector<Site> all = sites(tied);
  std::vector<std::string> picked;
  for (const Site* site : match(all, placement, false)) picked.push_back(site->name);
  return picked;
}

using Names = std::vector<std::string>;

TEST(Placement, LayersAreTheFirstNumberOfAPath) {
  EXPECT_EQ(names({.target = {{"up_proj"}}, .layers = {1}}),
            Names{"model.layers.1.experts.1.up_proj"});
  EXPECT_EQ(names({.target = {{"q_proj"}}, .layers = {0, 11}}),
            (Names{"model.layers.0.attn.q_proj", "model.layers.11.attn.q_proj"}));
  EXPECT_EQ(names({.target = {{"up_proj"}}, .layers = {1}, .layers_pattern = {"experts"}}).size(),
            3u);
  EXPECT_EQ(names({.target = {{"up_proj"}}, .layers = {1}, .layers_pattern = {"h", "layers"}}),
            Names{"model.layers.1.experts.1.up_proj"});
  EXPECT_THROW(names({.target = {{"up_proj"}}, .layers = {7}}), Error);
}

TEST(Placement, AWholePathIsTakenWhateverItsLayer) {
  EXPECT_EQ(names({.target = {{"model.layers.0.attn.q_proj"}}, .layers = {1}}),
            Names{"model.layers.0.attn.q_proj"});
}

TEST(Placement, SavedModulesAreNotTargets) {
  EXPECT_EQ(names({.target = {{"all-linear"}}, .modules_to_save = {"attn", "layers.1"}}),
            (Names{"model.layers.0.experts.1.up_proj", "model.layers.11.experts.1.up_proj"}));
}

TEST(Placement, ATiedHeadTakesItsUpdateFromTheEmbedding) {
  const Placement both{
      .target = {{"lm_head", "q_proj"}}, .layers = {}, .ensure_weight_tying = true};
  EXPECT_EQ(names(both).front(), "model.embed_tokens");
  EXPECT_EQ(names(both).back(), "model.layers.11.attn.q_proj");
  EXPECT_EQ(names(both, /*tied=*/false).back(), "lm_head");
  const std::vector<Site> all = sites();
  EXPECT_EQ(tied_head(all, both)->name, "lm_head");
  EXPECT_EQ(tied_head(all, {.target = {{"q_proj"}}, .ensure_weight_tying = true}), nullptr);
}

TEST(Copies, PlanModulesBiasesAndRows) {
  const std::vector<Site> all = sites();
  Plan own;
  own.sites.push_back({.site = all[2]});
  const auto plans = plan_copies(
      all, {.bias = "all", .modules_to_save = {"1.norm", "layers.11"}, .tokens = {5, 2}}, own,
      false);
  Names parameters;
  for (const SitePlan& plan : plans) {
    for (const ParamSpec& spec : plan.parameters) parameters.push_back(spec.path());
  }
  EXPECT_EQ(parameters,
            (Names{"model.layers.1.norm.weight", "model.layers.11.norm.weight",
                   "model.layers.11.attn.q_proj.weight", "model.layers.11.attn.q_proj.bias",
                   "model.layers.11.experts.1.up_proj.weight",
                   "model.layers.0.attn.q_proj.base_layer.bias", "model.layers.1.attn.q_proj.bias",
                   "model.embed_tokens.token_adapter.trainable_tokens_delta",
                   "model.embed_tokens.token_adapter.trainable_tokens_delta"}));
}

TEST(Copies, NamesTheNearestModule) {
  try {
    plan_copies(sites(), {.modules_to_save = {"lm_haed"}}, {}, false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(e.hint().find("lm_head"), std::string::npos) << e.hint();
  }
  EXPECT_THROW(plan_copies(sites(), {.tokens = {9}}, {}, false), Error);
  EXPECT_THROW(plan_copies(sites(), {.tokens = {1, 1}}, {}, false), Error);
  EXPECT_THROW(
      plan_copies(sites(), {.modules_to_save = {"embed_tokens"}, .tokens = {1}}, {}, false), Error);
}

TEST(Placement, TokenRowsInPeftsWords) {
  std::vector<int64_t> head;
  const Json peft = {{"trainable_token_indices", {{"embed_tokens", {1, 2}}, {"lm_head", {3}}}},
                     {"target_modules", "ALL-linear"}};
  const Json read = placement_from_peft(peft, sites(), "f", &head);
  EXPECT_EQ(read.at("trainable_token_indices"), Json({1, 2}));
  EXPECT_EQ(read.at("target_modules"), "all-linear");
  EXPECT_EQ(head, std::vector<int64_t>{3});
  EXPECT_THROW(
      placement_from_peft({{"trainable_token_indices", {{"wte", {1}}}}}, sites(), "f", &head),
      Error);
}

}  // namespace
}  // namespace smidgen
