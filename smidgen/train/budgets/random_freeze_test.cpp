#include <gtest/gtest.h>

#include "smidgen/methods/adapter.h"
#include "smidgen/nn/tiny_model.h"
#include "smidgen/train/budgets/registry.h"

namespace smidgen {
namespace {

std::set<int64_t> training_layers(const Adapter& adapter) {
  std::set<int64_t> layers;
  for (const SitePlan& site : adapter.plan().sites) {
    if (!adapter.store().find(site.parameters[0].path()).frozen()) layers.insert(site.site.layer);
  }
  return layers;
}

TEST(RandomFreeze, TrainsItsShareOfLayersAndDrawsAnewEachPeriod) {
  const auto model = make_tiny_llama({.layers = 8}, {.dtype = "fp32"});
  const auto adapter = Adapter::create(*model, "lora", {{"rank", 2}}, 1);
  const auto policy = budgets().find("random_freeze").start({{"keep", 0.25}, {"period", 2}});
  std::map<int64_t, int> seen;
  std::set<std::set<int64_t>> draws;
  for (int64_t step = 1; step <= 200; ++step) {
    const auto edits = policy->before_step({*adapter, step, 200, 3});
    if (step % 2 == 0) {
      EXPECT_TRUE(edits.empty());
    }
    for (const Edit& edit : edits) apply(adapter->store(), edit);
    const auto layers = training_layers(*adapter);
    ASSERT_EQ(layers.size(), 2u);
    draws.insert(layers);
    for (const int64_t layer : layers) ++seen[layer];
  }
  EXPECT_GT(draws.size(), 10u);
  // Uniform: each of 8 layers is expected in a quarter of 100 draws of 2 steps, 50 times; 5 sigma
  // is 43.
  for (const auto& [layer, count] : seen) EXPECT_NEAR(count, 50, 43) << layer;
  EXPECT_EQ(seen.size(), 8u);
}

TEST(RandomFreeze, DependsOnSeedAndStepAlone) {
  const auto model = make_tiny_llama({.layers = 8}, {.dtype = "fp32"});
  const auto a = Adapter::create(*model, "lora", {{"rank", 2}}, 1),
             b = Adapter::create(*model, "lora", {{"rank", 2}}, 1);
  const auto walk = budgets().find("random_freeze").start(Json::object());
  const auto jump = budgets().find("random_freeze").start(Json::object());
  for (int64_t step = 1; step <= 9; ++step) {
    for (const Edit& edit : walk->before_step({*a, step, 20, 3})) apply(a->store(), edit);
  }
  for (const Edit& edit : jump->before_step({*b, 9, 20, 3})) apply(b->store(), edit);
  EXPECT_EQ(training_layers(*a), training_layers(*b));
}

}  // namespace
}  // namespace smidgen
