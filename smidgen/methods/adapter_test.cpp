// What PEFT stores beside the trained values, and what does not fit together.
#include "smidgen/methods/adapter.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

class AdapterFolder : public testing::Test {
 protected:
  // A fresh adapter in a folder, some of its tensors replaced or added; those given empty are left
  // out.
  fs::path write(const Json& config, const std::map<std::string, at::Tensor>& changes) {
    const auto fresh = Adapter::create(*model_, "lora", config, 3);
    fresh->save(folder_ / "fresh", "base", nullptr, /*replace=*/true);
    const AdapterFiles files = read_adapter(folder_ / "fresh");
    std::vector<NamedTensor> tensors;
    for (const std::string& name : files.tensors->names()) {
      if (!changes.contains(name)) tensors.push_back({name, files.tensors->view(name)});
    }
    for (const auto& [name, values] : changes) {
      if (!values.defined()) continue;
      const auto* bytes = static_cast<const std::byte*>(values.const_data_ptr());
      tensors.push_back({name,
                         {.format = Format::f32,
                          .shape = values.sizes().vec(),
                          .bytes = {bytes, static_cast<size_t>(values.nbytes())}}});
    }
    write_adapter(folder_ / "a", files.config, tensors, nullptr, {.replace = true});
    return folder_ / "a";
  }

  at::Tensor logits(int slot) const {
    const torch::NoGradGuard no_grad;
    const Stream stream = make_stream(std::vector<int32_t>{3, 14, 15, 9, 2}, slot);
    return model_->logits(model_->forward(stream), *stream.rows);
  }

  std::string error_of(const fs::path& folder) const {
    try {
      Adapter::load(*model_, folder);
    } catch (const Error& e) {
      return str(e.what(), " ", e.hint());
    }
    return "no error";
  }

  TemporaryFolder folder_;
  std::unique_ptr<Model> model_ = make_tiny_llama({.tied = true});
  const std::string embed_ = "base_model.model.model.embed_tokens.";
  const Json embedding_ = {{"target", {"embed_tokens"}}, {"rank", 2}};
};

TEST_F(AdapterFolder, ABaseWeightThatIsTheBasesIsCarriedAndNothingElse) {
  const at::Tensor table = model_->find("model.embed_tokens").host->weight().original().tile(0, 67);
  const auto loaded =
      Adapter::load(*model_, write(embedding_, {{embed_ + "base_layer.weight", table}}));
  const at::Tensor before = logits(0);
  loaded->attach(*model_, 1);
  EXPECT_TRUE(at::equal(logits(1), before));
  loaded->save(folder_ / "b", "", nullptr);
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json"})
    EXPECT_EQ(read_file(folder_ / "a" / file), read_file(folder_ / "b" / file)) << file;
}

TEST_F(AdapterFolder, ABaseWeightThatDiffersStandsInForTheBases) {
  const at::Tensor table =
      model_->find("model.embed_tokens").host->weight().original().tile(0, 67) * 1.5;
  const auto loaded =
      Adapter::load(*model_, write(embedding_, {{embed_ + "base_layer.weight", table}}));
  EXPECT_EQ(loaded->store().parameters().size(), 2u) << "it is not trained";
  const at::Tensor before = logits(0);
  loaded->attach(*model_, 1);
  const at::Tensor attached = logits(1);
  EXPECT_GT((attached - before).abs().max().item<double>(), 0.1);
  merge(*model_, *loaded);
  EXPECT_LT((logits(0) - attached).abs().max().item<double>(), 1e-4);
  EXPECT_FALSE(model_->tied(model_->find("lm_head").site()));
  unmerge(*model_);
  EXPECT_TRUE(at::equal(logits(0), before));
  EXPECT_TRUE(model_->tied(model_->find("lm_head").site()));
}

TEST_F(AdapterFolder, AnEmbeddingOfAnotherSizeIsRefused) {
  EXPECT_NE(error_of(write(embedding_, {{embed_ + "base_layer.weight", at::zeros({70, 24})}}))
                .find("vocabulary was resized"),
            std::string::npos);
}

TEST_F(AdapterFolder, TheTwoNamesOfASharedUpdateMustAgree) {
  Json config = embedding_;
  config["ensure_weight_tying"] = true;
  const std::string head = "base_model.model.lm_head.lora_A.weight";
  EXPECT_EQ(error_of(write(config, {})), "no error");
  EXPECT_EQ(error_of(write(config, {{head, at::Tensor()}})), "no error");
  EXPECT_NE(error_of(write(config, {{head, at::ones({2, 24})}})).find("lm_head.lora_A.weight"),
            std::string::npos);
}

TEST_F(AdapterFolder, RepeatedBiasesOfCopiedModulesAreCarried) {
  model_ = make_tiny_llama({.attention_bias = true});
  const std::string attention = "base_model.model.model.layers.0.self_attn.";
  const Json config = {
      {"target", {"v_proj"}}, {"bias", "all"}, {"modules_to_save", {"0.self_attn"}}};
  const auto loaded = Adapter::load(
      *model_,
      write(config, {{attention + "original_module.q_proj.bias", at::ones({32})},
                     {attention + "modules_to_save.default.q_proj.bias", at::ones({32})}}));
  loaded->save(folder_ / "b", "", nullptr);
  EXPECT_EQ(read_file(folder_ / "a/adapter_model.safetensors"),
            read_file(folder_ / "b/adapter_model.safetensors"));
  EXPECT_NE(
      error_of(write(config, {{attention + "modules_to_save.default.z_proj.bias", at::ones({32})}}))
          .find("z_proj"),
      std::string::npos);
}

TEST_F(AdapterFolder, TwoCopiesOfOneModuleCannotShareASlot) {
  const Json config = {{"target", {"v_proj"}}, {"modules_to_save", {"model.norm"}}};
  const auto a = Adapter::create(*model_, "lora", config, 1);
  const auto b = Adapter::create(*model_, "lora", config, 2);
  a->attach(*model_, 1);
  b->attach(*model_, 2);
  EXPECT_THROW(b->attach(*model_, 1), Error);
}

}  // namespace
}  // namespace smidgen
