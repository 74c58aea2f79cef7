#include "smidgen/delta/subspace/activations.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/subspace/subspace_checks_test.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

using Prompts = std::vector<std::vector<int32_t>>;

Prompts prompts(int count, int first) {
  Prompts all;
  for (int i = 0; i < count; ++i) {
    std::vector<int32_t> ids;
    for (int k = 0; k < 3 + i % 5; ++k) ids.push_back((first + 7 * i + 3 * k) % 67);
    all.push_back(ids);
  }
  return all;
}

TEST(ActivationLayers, AreTheReferences) {
  EXPECT_EQ(default_layers(12), std::pair(int64_t{8}, int64_t{11}));   // 13 states: 8.45, 11.7
  EXPECT_EQ(default_layers(32), std::pair(int64_t{21}, int64_t{29}));  // 33: 21.45, 29.7
  EXPECT_EQ(default_layers(1), std::pair(int64_t{1}, int64_t{2}));
}

// A model of the first l blocks alone norms the state after block l.
TEST(Activations, AreTheStreamAfterEachBlock) {
  const TinySpec spec{.layers = 3};
  const auto model = make_tiny_llama(spec);
  const Prompts all = prompts(6, 1);
  // 10 tokens a pass: several passes, of several prompts each.
  const auto states = last_token_states(*model, all, 1, 4, 5, 10);
  ASSERT_EQ(states.size(), 3u);
  const torch::NoGradGuard no_grad;
  for (int64_t blocks = 1; blocks <= 3; ++blocks) {
    const auto less = make_tiny_llama(spec, {.dtype = "fp32", .layers = blocks});
    const at::Tensor weight = less->find("model.norm").host->weight().current().tile(0, spec.width);
    const at::Tensor& x = states[static_cast<size_t>(blocks - 1)];
    const at::Tensor normed =
        x * (x.square().mean(1, true) + spec.norm_eps).rsqrt() * weight.view({1, -1});
    for (size_t i = 0; i < all.size(); ++i) {
      const at::Tensor want = less->forward(make_stream(all[i]))[-1];
      EXPECT_LT(largest(normed[static_cast<int64_t>(i)] - want), 1e-5) << blocks << " " << i;
    }
  }
  // Nothing is left hanging.
  for (const Site& site : model->module_sites())
    EXPECT_TRUE(model->find(site.name).slots().empty());
}

TEST(Activations, OverlapOfASetWithItselfIsOne) {
  const auto model = make_tiny_llama({.layers = 4});
  const Prompts a = prompts(9, 1), b = prompts(9, 30);
  const auto same = activation_overlap(*model, a, a, 1);
  ASSERT_EQ(same.size(), 1u);  // of 5 states, 3 alone
  EXPECT_EQ(same[0].layer, 3);
  for (const Overlap& o : same[0].overlaps) EXPECT_NEAR(o.value, 1, 1e-9);
  const auto other = activation_overlap(*model, a, b, 1, {.energies = {0.9}, .centre = true});
  EXPECT_LT(other[0].overlaps[0].value, 0.99);
  EXPECT_EQ(other[0].overlaps[0].random,
            static_cast<double>(std::max(other[0].overlaps[0].k1, other[0].overlaps[0].k2)) / 24);
}

TEST(Activations, SaysWhatHasNoLastState) {
  const auto model = make_tiny_llama();
  EXPECT_TRUE(error_of([&] {
                last_token_states(*model, {{1}, {}}, 1, 2, 1);
              }).starts_with("usage: prompt 2 has 0 tokens"));
  EXPECT_TRUE(error_of([&] {
                last_token_states(*model, {{1}}, 0, 2, 1);
              }).starts_with("usage: hidden states 0 to 1 "));
  EXPECT_TRUE(error_of([&] { last_token_states(*model, {}, 1, 2, 1); }).starts_with("usage:"));
}

}  // namespace
}  // namespace smidgen
