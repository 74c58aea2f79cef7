// Closed forms of the schemes, and what a configuration may not say. Values beside transformers are
// in tests/parity/test_families.py.
#include "smidgen/nn/rope_scaling.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

RopeSpec read(const Json& scaling, double partial = 0, int64_t head_dim = 8) {
  const Json config = {{"rope_scaling", scaling}};
  ConfigReader reader(config, "config.json");
  return read_rope(reader, {.theta = 100, .partial = partial}, head_dim, 64);
}

TEST(RopeScaling, LinearDividesEveryFrequency) {
  const RopeSpec s = read({{"type", "linear"}, {"factor", 4.0}});
  EXPECT_TRUE(torch::allclose(inverse_frequencies(s, 9) * 4, rope_frequencies(8, 100)));
  EXPECT_FALSE(s.by_length());
}

TEST(RopeScaling, DynamicStartsAtTheOriginalLength) {
  const RopeSpec s = read({{"rope_type", "dynamic"}, {"factor", 3.0}});
  EXPECT_TRUE(torch::equal(inverse_frequencies(s, 64), rope_frequencies(8, 100)));
  const double theta = 100 * std::pow(3.0 * 65 / 64 - 2, 8.0 / 6);
  EXPECT_TRUE(torch::allclose(inverse_frequencies(s, 65), rope_frequencies(8, theta)));
}

TEST(RopeScaling, Llama3KeepsShortWavesAndStretchesLongOnes) {
  const RopeSpec s = read({{"rope_type", "llama3"},
                           {"factor", 8.0},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 32}});
  const at::Tensor ratio = rope_frequencies(8, 100) / inverse_frequencies(s, 1);
  EXPECT_NEAR(ratio[0].item<double>(), 1, 1e-6);  // 32 / (2 pi) = 5.1 turns
  EXPECT_NEAR(ratio[3].item<double>(), 8, 1e-5);  // 0.16 turns
  EXPECT_GT(ratio[1].item<double>(), 1);
}

TEST(RopeScaling, LongropeChoosesByLength) {
  const Json factors = {1.0, 2.0, 3.0, 4.0}, longer = {5.0, 6.0, 7.0, 8.0};
  const RopeSpec s = read({{"type", "su"},
                           {"short_factor", factors},
                           {"long_factor", longer},
                           {"original_max_position_embeddings", 16}});
  const at::Tensor f = rope_frequencies(8, 100);
  EXPECT_NEAR((f / inverse_frequencies(s, 16))[3].item<double>(), 4, 1e-5);
  EXPECT_NEAR((f / inverse_frequencies(s, 17))[3].item<double>(), 8, 1e-5);
  EXPECT_NEAR(s.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(16.0)), 1e-12);
  EXPECT_TRUE(s.by_length());
}

TEST(RopeScaling, TablesFollowTheLength) {
  RopeTables tables(read({{"rope_type", "dynamic"}, {"factor", 3.0}}));
  const at::Tensor near = tables.table(10, 10).sin.clone(), far = tables.table(80, 80).sin.clone();
  EXPECT_TRUE(torch::equal(tables.table(64, 64).sin.narrow(0, 0, 10), near.narrow(0, 0, 10)));
  EXPECT_FALSE(torch::allclose(far[9], near[9]));
  EXPECT_FALSE(torch::allclose(tables.table(90, 90).sin[9], far[9]));
}

// Generation makes them without gradients, and training may read them afterwards.
TEST(RopeScaling, TablesCanBeDifferentiatedThrough) {
  RopeTables tables(read(nullptr));
  {
    const c10::InferenceMode inference;
    tables.table(10, 10);
  }
  const at::Tensor q = torch::ones({1024, 1, 4}).requires_grad_();
  const at::Tensor turned = q * tables.table(10, 10).cos.unsqueeze(1).narrow(2, 0, 4);
  turned.sum().backward();
  EXPECT_TRUE(q.grad().defined());
}

TEST(RopeScaling, RefusesWhatMakesNoRotation) {
  const Json wrong[] = {{{"rope_type", "llama3"}, {"factor", 0.0}},
                        {{"rope_type", "linear"}},
                        {{"rope_type", "spiral"}, {"factor", 2.0}},
                        {{"rope_type", "longrope"}, {"short_factor", {1.0}}},
                        {{"rope_type", "llama3"},
                         {"factor", 2.0},
                         {"low_freq_factor", 4.0},
                         {"high_freq_factor", 4.0}}};
  for (const Json& scaling : wrong) EXPECT_THROW(read(scaling), Error) << scaling.dump();
  EXPECT_THROW(read(nullptr, 0, 7), Error) << "an odd head";
  EXPECT_EQ(read(nullptr, 0.5).rotary, 4);
}

}  // namespace
}  // namespace smidgen
