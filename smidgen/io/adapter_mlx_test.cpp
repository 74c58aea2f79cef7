#include "smidgen/io/adapter_mlx.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/hex_test.h"

namespace smidgen {
namespace {

struct Written {
  TemporaryFolder folder;
  std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {7, 8, 9, 10, 11, 12, 13, 14};  // [3, 2], [2, 4]
  std::vector<NamedTensor> tensors = {named("model.layers.0.self_attn.q_proj.lora_a", a, {3, 2}),
                                      named("model.layers.0.self_attn.q_proj.lora_b", b, {2, 4})};
  std::string config =
      R"({"fine_tune_type": "lora", "model": "base", "lora_parameters": {"rank": 2, "scale": 20.0, "dropout": 0.1}})";

  static NamedTensor named(const std::string& name, const std::vector<float>& values,
                           std::vector<int64_t> shape) {
    return {name, {Format::f32, std::move(shape), std::as_bytes(std::span(values))}};
  }
  AdapterFiles read() {
    write_file(folder / "adapter_config.json", config);
    write_safetensors(folder / "adapters.safetensors", tensors);
    return read_mlx_adapter(folder.path());
  }
};

TEST(AdapterMlx, BecomesWhatPeftWouldHaveWritten) {
  Written w;
  const AdapterFiles adapter = w.read();
  EXPECT_TRUE(is_mlx_adapter(w.folder.path()));
  EXPECT_EQ(adapter.config["peft_type"], "LORA");
  EXPECT_EQ(adapter.config["r"], 2);
  EXPECT_EQ(adapter.config["lora_alpha"], 40.0);
  EXPECT_EQ(adapter.config["lora_dropout"], 0.1);
  EXPECT_EQ(adapter.config["target_modules"], Json::array({"model.layers.0.self_attn.q_proj"}));
  EXPECT_EQ(adapter.config["base_model_name_or_path"], "base");
  const std::string stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
  const TensorView a = adapter.tensors->view(stem + "A.weight");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
  std::vector<float> values(6);
  to_f32(a, values);
  EXPECT_EQ(values, (std::vector<float>{1, 3, 5, 2, 4, 6}));
  const TensorView b = adapter.tensors->view(stem + "B.weight");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{4, 2}));
  values.resize(8);
  to_f32(b, values);
  EXPECT_EQ(values, (std::vector<float>{7, 11, 8, 12, 9, 13, 10, 14}));
}

TEST(AdapterMlx, EmbeddingsHaveNamesOfTheirOwn) {
  Written w;
  w.tensors = {Written::named("model.embed_tokens.lora_a", w.a, {3, 2}),
               Written::named("model.embed_tokens.lora_b", w.b, {2, 4})};
  EXPECT_TRUE(w.read().tensors->contains("base_model.model.model.embed_tokens.lora_embedding_A"));
}

TEST(AdapterMlx, OldReleasesScaledByAlphaOverRank) {
  Written w;
  w.config = R"({"lora_parameters": {"rank": 2, "alpha": 16, "scale": 10.0, "dropout": 0}})";
  EXPECT_EQ(w.read().config["lora_alpha"], 160.0);
}

TEST(AdapterMlx, NamesWhatItCannotRead) {
  const std::pair<const char*, const char*> configs[] = {
      {"[]", "not a JSON object"},
      {"{}", "no object \"lora_parameters\""},
      {R"({"fine_tune_type": "dora"})", "fine_tune_type 'dora'"},
      {R"({"fine_tune_type": 3})", "fine_tune_type ''"},
      {R"({"lora_parameters": {"rank": 2}})", "no number \"scale\""},
      {R"({"lora_parameters": {"rank": 0, "scale": 1}})", "the rank is 0"},
      {R"({"lora_parameters": {"rank": 1e300, "scale": 1}})", "the rank is 1e+300"},
      {R"({"lora_parameters": {"rank": 2.5, "scale": 1}})", "the rank is 2.5"},
      {R"({"lora_parameters": {"rank": 3, "scale": 1}})", "but the rank is 3"},
  };
  for (const auto& [config, words] : configs) {
    Written w;
    w.config = config;
    const std::string error = error_of([&] { w.read(); });
    EXPECT_NE(error.find(words), std::string::npos) << config << ": " << error;
  }
  Written alone, dora, experts;
  alone.tensors.pop_back();
  EXPECT_NE(error_of([&] { alone.read(); }).find("there is no lora_b"), std::string::npos);
  dora.tensors.push_back(Written::named("model.layers.0.self_attn.q_proj.m", dora.a, {6}));
  EXPECT_NE(error_of([&] { dora.read(); }).find("DoRA"), std::string::npos);
  experts.tensors[0].view.shape = {1, 3, 2};
  EXPECT_NE(error_of([&] { experts.read(); }).find("experts"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
