#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/methods/merge.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

const Method& method() {
  return methods().find("parallel_adapter");
}

Json config(Json more = Json::object()) {
  Json c = {{"bottleneck", 3}, {"scale", 1.5}, {"activation", "silu"}};
  c.update(more);
  return c;
}

TEST(ParallelAdapter, IsBesideEveryMlpUnlessToldOtherwise) {
  const auto model = make_tiny_llama();
  const auto names = [&](const Json& more) {
    std::vector<std::string> found;
    for (const SitePlan& site : method().plan(model->module_sites(), config(more), false).sites)
      found.push_back(site.site.name);
    return found;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(Json::object()), (Names{"model.layers.0.mlp", "model.layers.1.mlp"}));
  EXPECT_EQ(names({{"layers", {1}}}), Names{"model.layers.1.mlp"});
  EXPECT_EQ(names({{"target", "all-attention"}, {"layers", {0}}}),
            Names{"model.layers.0.self_attn"});
  EXPECT_EQ(names({{"target", "all-blocks"}, {"layers", {1}}}), Names{"model.layers.1"});
  EXPECT_EQ(names({{"target", {"self_attn", "mlp"}}, {"exclude", "layers.0.mlp"}}).size(), 3u);
  EXPECT_THROW(names({{"target", "q_proj"}}), Error) << "a weight is no module";
  EXPECT_THROW(names({{"target", "layers"}}), Error) << "nor is the whole stack one";
}

TEST(ParallelAdapter, AddsWhatTheFormulaSays) {
  const Plan plan = method().plan(
      {{.name = "model.layers.0.mlp", .kind = SiteKind::mlp, .out = 4, .in = 4, .layer = 0}},
      config(), false);
  const Tensors p = {at::randn({3, 4}), at::randn({3}), at::randn({4, 3}), at::randn({4})};
  const at::Tensor x = at::randn({7, 4});
  const auto attachment = method().attach(plan.sites[0], p, {}, {});
  const at::Tensor h = at::matmul(x, p[0].t()) + p[1];
  const at::Tensor wanted = (at::matmul(h / (1 + at::exp(-h)), p[2].t()) + p[3]) * 1.5;
  EXPECT_TRUE(at::allclose(attachment->add(x, {}, p), wanted, 1e-5, 1e-5));
}

TEST(ParallelAdapter, StartsUniformWithinTheKaimingBoundAndZero) {
  const Plan plan = method().plan({{.name = "m", .kind = SiteKind::mlp, .out = 400, .in = 400}},
                                  {{"bottleneck", 50}}, false);
  ParamStore store;
  const auto p = store.add(plan.sites[0].parameters);
  method().init(plan.sites[0], p, {}, Json::object(), 7);
  const at::Tensor down = p[0]->value().detach();
  EXPECT_LE(down.abs().max().item<float>(), 1.0 / 20);
  EXPECT_NEAR(down.var().item<float>(), 1.0 / 400 / 3, 3e-5);
  for (const size_t i : {1u, 2u, 3u}) EXPECT_EQ(p[i]->value().abs().max().item<float>(), 0);
}

TEST(ParallelAdapter, DropsTheSameInBothDirections) {
  const auto clock = std::make_shared<DropoutClock>();
  const Plan plan = method().plan({{.name = "m", .kind = SiteKind::mlp, .out = 4, .in = 4}},
                                  config({{"dropout", 0.4}}), false);
  const Tensors p = {at::randn({3, 4}).requires_grad_(), at::randn({3}).requires_grad_(),
                     at::randn({4, 3}).requires_grad_(), at::randn({4}).requires_grad_()};
  const at::Tensor x = at::randn({500, 4}), dy = at::randn({500, 4});
  const auto a = method().attach(plan.sites[0], p, {}, {.clock = clock});
  const at::Tensor whole = a->add(x, {}, p).detach();
  const DropoutScope scope(*clock, 3, 8, 100);
  EXPECT_FALSE(at::equal(a->add(x, {}, p), whole));
  EXPECT_TRUE(at::equal(a->add(x, {}, p), a->add(x, {}, p)));
  const auto first = a->add_backward(x, {}, p, dy), second = a->add_backward(x, {}, p, dy);
  EXPECT_TRUE(at::equal(first.dx, second.dx));
}

TEST(ParallelAdapter, CannotBeMergedAndSaysWhy) {
  const auto model = make_tiny_llama();
  const auto adapter = Adapter::create(*model, "parallel_adapter", config(), 3);
  try {
    merge(*model, *adapter);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("not a linear function"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace smidgen
