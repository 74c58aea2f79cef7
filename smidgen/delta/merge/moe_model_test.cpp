#include "smidgen/delta/merge/moe_model.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/moe_gates.h"
#include "smidgen/delta/merge/table_source_test.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

class TinySource : public TableSource {
 public:
  TinySource(const std::string& label, Json config, uint64_t seed)
      : TinySource(label, tiny_files(config, {.seed = seed})) {}
  Json config() const override { return files_.config; }

 private:
  TinySource(const std::string& label, const ModelFiles& files)
      : TableSource(label, files.tensors), files_(files) {}
  ModelFiles files_;
};

Json config_of(const std::string& family) {
  Json config = tiny_config(family);
  for (const char* key : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    if (config.contains(key)) config[key] = false;
  }
  return config;
}

struct Scene {
  MoeRecipe recipe;
  std::vector<std::shared_ptr<const Source>> sources;

  explicit Scene(const std::string& family) : Scene(config_of(family), config_of(family)) {}
  Scene(const Json& base, const Json& expert) {
    recipe.base.path = "base";
    recipe.gates = GateMode::normal;
    recipe.used = 1;
    recipe.experts.resize(2);
    recipe.experts[0].model.path = "a";
    recipe.experts[1].model.path = "base";
    recipe.experts[1].scale = 0.5;
    sources = {std::make_shared<TinySource>("base", base, 1),
               std::make_shared<TinySource>("a", expert, 2)};
  }
  std::shared_ptr<MoeModel> make() const { return std::make_shared<MoeModel>(recipe, sources, 7); }
};

at::Tensor all(const Source& source, const std::string& name) {
  const SourceTensor* tensor = source.find(name);
  if (!tensor) throw std::out_of_range(name);
  at::Tensor values = at::empty(tensor->shape, at::kFloat);
  source.read(*tensor, 0, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

// Names and shapes are those that the family itself asks for.
TEST(MoeModel, HasTheTensorsOfItsFamily) {
  for (const auto& [family, result] :
       {std::pair{"llama", "mixtral"}, {"mistral", "mixtral"}, {"qwen3", "qwen3_moe"}}) {
    const auto model = Scene(family).make();
    EXPECT_EQ(model->config().at("model_type"), result);
    std::map<std::string, std::vector<int64_t>> wanted, found;
    for (const NamedShape& t : families().find(result).shapes(model->config()))
      wanted[t.name] = t.shape;
    for (const SourceTensor& t : model->tensors()) found[t.name] = t.shape;
    EXPECT_EQ(found, wanted) << family;
  }
}

TEST(MoeModel, ReadsEachTensorFromItsModel) {
  const Scene scene("llama");
  const auto model = scene.make();
  const auto base = [&](const char* name) { return all(*scene.sources[0], name); };
  const auto a = [&](const char* name) { return all(*scene.sources[1], name); };
  const std::string at = "model.layers.1.block_sparse_moe.experts.";
  EXPECT_TRUE(
      at::equal(all(*model, "model.embed_tokens.weight"), base("model.embed_tokens.weight")));
  EXPECT_TRUE(at::equal(all(*model, at + "0.w1.weight"), a("model.layers.1.mlp.gate_proj.weight")));
  EXPECT_TRUE(at::equal(all(*model, at + "0.w3.weight"), a("model.layers.1.mlp.up_proj.weight")));
  EXPECT_TRUE(at::equal(all(*model, at + "0.w2.weight"), a("model.layers.1.mlp.down_proj.weight")));
  EXPECT_TRUE(
      at::equal(all(*model, at + "1.w3.weight"), base("model.layers.1.mlp.up_proj.weight")));
  EXPECT_TRUE(at::equal(all(*model, at + "1.w2.weight"),
                        base("model.layers.1.mlp.down_proj.weight") * 0.5));
  // What is changed on the way has no bytes of its own.
  EXPECT_TRUE(model->stored(*model->find(at + "1.w3.weight")));
  EXPECT_FALSE(model->stored(*model->find(at + "1.w2.weight")));

  const at::Tensor gates = at::rand({model->layers(), 2, model->width()});
  model->set_gates(gates);
  const std::string router = "model.layers.1.block_sparse_moe.gate.weight";
  EXPECT_TRUE(at::equal(all(*model, router), gates[1]));
  const auto bytes = model->stored(*model->find(router));
  ASSERT_TRUE(bytes);
  EXPECT_EQ(std::memcmp(bytes->bytes.data(), gates[1].contiguous().const_data_ptr<float>(),
                        bytes->bytes.size()),
            0);
}

TEST(MoeModel, NoiseIsItsOwnForEveryExpertAndScaleComesAfterIt) {
  Scene scene("llama");
  scene.recipe.experts[0] = scene.recipe.experts[1];
  for (ExpertSpec& expert : scene.recipe.experts) expert.noise = 0.25;
  const auto model = scene.make();
  const std::string at = "model.layers.0.block_sparse_moe.experts.";
  const at::Tensor up = all(*scene.sources[0], "model.layers.0.mlp.up_proj.weight");
  const at::Tensor down = all(*scene.sources[0], "model.layers.0.mlp.down_proj.weight");
  const at::Tensor x = all(*model, at + "0.w3.weight") - up;
  const at::Tensor y = all(*model, at + "1.w3.weight") - up;
  const at::Tensor z = all(*model, at + "0.w2.weight") / 0.5 - down;
  const double n = static_cast<double>(up.numel());
  for (const at::Tensor& noise : {x, y, z}) {
    EXPECT_NEAR(noise.mean().item<double>(), 0, 5 * 0.25 / std::sqrt(n));
    EXPECT_NEAR(noise.std().item<double>(), 0.25, 5 * 0.25 / std::sqrt(2 * n));
  }
  EXPECT_LT(std::abs((x * y).mean().item<double>()), 5 * 0.0625 / std::sqrt(n));
  EXPECT_TRUE(at::equal(all(*model, at + "0.w3.weight"), all(*scene.make(), at + "0.w3.weight")));
  // Piece by piece it is the same.
  const SourceTensor& tensor = *model->find(at + "0.w3.weight");
  at::Tensor row = at::empty({tensor.columns()});
  model->read(tensor, 3 * tensor.columns(),
              {row.mutable_data_ptr<float>(), static_cast<size_t>(row.numel())});
  EXPECT_TRUE(at::equal(row, all(*model, tensor.name)[3]));
}

// A missing field means what it means for the base.
TEST(MoeModel, ConfigurationSaysWhatTheBaseMeant) {
  Json config = config_of("mistral");
  for (const char* key : {"sliding_window", "rms_norm_eps", "rope_theta", "rope_parameters",
                          "max_position_embeddings"})
    config.erase(key);
  const Json mixtral = Scene(config, config).make()->config();
  EXPECT_EQ(mixtral.at("sliding_window"), 4096);
  EXPECT_EQ(mixtral.at("rms_norm_eps"), 1e-6);  // Mixtral's own is 1e-5
  EXPECT_EQ(mixtral.at("rope_theta"), 10000);   // and 1e6
  EXPECT_EQ(mixtral.at("num_local_experts"), 2);
  EXPECT_EQ(mixtral.at("num_experts_per_tok"), 1);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(Scene(config, config).make()->config().at("sliding_window"), nullptr);

  Json llama = config_of("llama");
  llama.erase("num_key_value_heads");
  llama.erase("head_dim");
  const Json from_llama = Scene(llama, llama).make()->config();
  EXPECT_EQ(from_llama.at("num_key_value_heads"), llama.at("num_attention_heads"));
  EXPECT_EQ(from_llama.at("sliding_window"), nullptr);
  EXPECT_FALSE(from_llama.contains("mlp_bias"));
}

TEST(MoeModel, SaysWhatDoesNotFit) {
  const auto expect = [](const Scene& scene, const std::string& part) {
    const std::string text = error_of([&] { scene.make(); });
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(Scene("qwen2"), "no mixture of experts can be made of models of type 'qwen2'");
  Scene deepseek("llama");
  deepseek.recipe.architecture = "deepseek";
  expect(deepseek, "no 'deepseek' can be made of models of type 'llama'");
  Scene mixtral("llama");
  mixtral.recipe.architecture = "MIX";
  EXPECT_EQ(error_of([&] { mixtral.make(); }), "no error");

  const Json llama = config_of("llama");
  Json other = llama;
  other["intermediate_size"] = llama.at("intermediate_size").get<int64_t>() + 8;
  expect(Scene(llama, other), "tensor model.layers.0.mlp.gate_proj.weight has shape [");
  other = llama;
  other["num_hidden_layers"] = llama.at("num_hidden_layers").get<int64_t>() + 1;
  expect(Scene(llama, other), "that an expert cannot have");
  expect(Scene(other, llama), "a has no tensor model.layers.");
  other = llama;
  other["hidden_act"] = "relu";
  expect(Scene(llama, other), "hidden_act is \"relu\" in a");
  other = llama;
  other["mlp_bias"] = true;
  expect(Scene(other, other), "the base has mlp_bias, which Mixtral models cannot have");
  expect(Scene(llama, other), ".bias that an expert cannot have");
  Json window = config_of("qwen3");
  window["use_sliding_window"] = true;
  expect(Scene(window, window), "the base has use_sliding_window");
}

TEST(MoeGates, RandomOnesHaveTheirDistributions) {
  Scene scene("llama");
  const auto model = scene.make();
  const at::Tensor normal = moe_gates(scene.recipe, *model, {.seed = 3});
  EXPECT_EQ(normal.sizes(), at::IntArrayRef({model->layers(), 2, model->width()}));
  const double n = static_cast<double>(normal.numel());
  EXPECT_NEAR(normal.mean().item<double>(), 0, 5 / std::sqrt(n));
  EXPECT_NEAR(normal.std().item<double>(), 1, 5 / std::sqrt(2 * n));
  EXPECT_TRUE(at::equal(normal, moe_gates(scene.recipe, *model, {.seed = 3})));
  EXPECT_FALSE(at::equal(normal, moe_gates(scene.recipe, *model, {.seed = 4})));
  EXPECT_FALSE(at::equal(normal[0], normal[1]));
  scene.recipe.gates = GateMode::uniform;
  const at::Tensor uniform = moe_gates(scene.recipe, *model, {.seed = 3});
  const double bound = 1 / std::sqrt(static_cast<double>(model->width()));
  EXPECT_LE(uniform.abs().max().item<double>(), bound);
  EXPECT_GT(uniform.abs().max().item<double>(), 0.9 * bound);
  EXPECT_NEAR(uniform.std().item<double>(), bound / std::sqrt(3.0), 5 * bound / std::sqrt(n));
}

TEST(MoeGates, RowsThatAreAlikeAreFound) {
  at::Tensor gates = at::zeros({3, 2, 4});
  gates[0][0][0] = gates[0][1][1] = 1;
  gates[1][0][0] = gates[1][1][0] = 1;
  gates[1][1][1] = 0.01;
  gates[2][0][2] = gates[2][1][3] = 1;
  EXPECT_EQ(alike_layers(gates), std::vector<int64_t>{1});
  EXPECT_EQ(alike_layers(gates, 1e6), std::vector<int64_t>{});
}

}  // namespace
}  // namespace smidgen
