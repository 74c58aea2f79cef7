// The memory modes of a step over families and methods: none of them changes what is computed, and
// each keeps less than the one before.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/tensor_memory.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

struct Case {
  std::string family, method;
  Json config;
};

// Each family with LoRA on every linear site, and every method on one family; dropout, and norms,
// biases and rows that are trained beside the method.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string& family : families().names())
    all.push_back({family, "lora", {{"rank", 3}, {"alpha", 7}, {"dropout", 0.2}}});
  for (const std::string& method : methods().names()) {
    const bool adapter = methods().find(method).capabilities().artefact == Artefact::adapter;
    // What makes activations again by itself has nothing that a memory mode could let go.
    Json own = Json::object();
    for (const Json& field : methods().find(method).fields()) {
      if (field["name"] == "reverse") own["reverse"] = "cached";
    }
    const auto with = [&](Json more) {
      more.update(own);
      return more;
    };
    all.push_back({"llama", method, own});
    if (!adapter) continue;
    all.push_back(
        {"gemma2", method,
         with({{"bias", "all"},
               {"modules_to_save", {"input_layernorm", "post_attention_layernorm", "layers.1.mlp"}},
               {"token_rows", {3, 9}}})});
    all.push_back({"gpt2", method, with({{"bias", "all"}, {"modules_to_save", {"ln_1", "ln_2"}}})});
  }
  return all;
}

struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
  int64_t kept = 0;  // bytes between the forward and the backward pass
};

class MemoryLaws : public testing::TestWithParam<Case> {
 protected:
  void open(const std::string& dtype) {
    model_ = load_model(tiny_files(tiny_config(GetParam().family)), {.dtype = dtype});
    adapter_ = Adapter::create(*model_, GetParam().method, GetParam().config, 5);
    for (const auto& p : adapter_->store().parameters()) {
      const Rng rng(11, "disturb", 0, p->spec().path());
      at::Tensor value = p->value().detach();
      float* data = value.mutable_data_ptr<float>();
      for (int64_t i = 0; i < value.numel(); ++i)
        data[i] += static_cast<float>(0.1 * rng.normal(static_cast<uint64_t>(i)));
    }
    adapter_->attach(*model_, 1);
  }

  Result step(const MemoryPlan& plan) {
    model_->set_memory(plan);
    adapter_->store().zero_grad();
    std::vector<int32_t> first, second;
    for (int32_t i = 0; i < 40; ++i) first.push_back(i * 7 % 41);
    for (int32_t i = 0; i < 23; ++i) second.push_back(i * 5 % 41);
    const DropoutScope dropping(adapter_->dropout(), 3, 2, 0);
    Result result;
    at::Tensor sum;
    {
      // A batch that is gone before the backward pass.
      Batch batch;
      batch.main = make_stream({first, second}, {1, 1});
      batch.targets = next_token_targets(batch.main);
      const TensorMemory memory;
      sum = model_->loss_sum(model_->forward(batch.main), batch);
      result.kept = memory.live();
    }
    sum.backward();
    result.loss = sum.item<double>();
    for (const auto& p : adapter_->store().parameters())
      result.gradients[p->spec().path()] = p->gradient().clone();
    return result;
  }

  // Greatest difference of a gradient, in its own size.
  static double distance(const Result& a, const Result& b) {
    double worst = 0;
    for (const auto& [path, wanted] : b.gradients) {
      const double size = wanted.abs().max().item<double>();
      const double off = (a.gradients.at(path) - wanted).abs().max().item<double>();
      worst = std::max(worst, size > 0 ? off / size : off);
    }
    return worst;
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<Adapter> adapter_;
};

TEST_P(MemoryLaws, CheckpointingHasTheSameBits) {
  for (const char* dtype : {"fp32", "bf16"}) {
    open(dtype);
    const Result fast = step({});
    for (const int64_t every : {1, 2}) {
      const Result again = step({MemoryMode::checkpoint, every});
      EXPECT_EQ(again.loss, fast.loss) << dtype;
      EXPECT_EQ(distance(again, fast), 0) << dtype << " every " << every;
      EXPECT_LT(again.kept, fast.kept) << dtype << " every " << every;
    }
  }
}

TEST_P(MemoryLaws, LeanHasTheSameBitsInFp32) {
  open("fp32");
  const Result fast = step({}), lean = step({MemoryMode::lean});
  EXPECT_EQ(lean.loss, fast.loss);
  EXPECT_EQ(distance(lean, fast), 0);
  EXPECT_LE(lean.kept, fast.kept);
}

// What is kept of the stream is rounded, and nothing that the loss is computed from.
TEST_P(MemoryLaws, LeanRoundsWhatItKeepsInBf16) {
  open("bf16");
  const Result fast = step({}), lean = step({MemoryMode::lean});
  EXPECT_EQ(lean.loss, fast.loss);
  EXPECT_LT(distance(lean, fast), 0.03);
  EXPECT_LT(lean.kept, fast.kept);
}

INSTANTIATE_TEST_SUITE_P(Registry, MemoryLaws, testing::ValuesIn(cases()), [](const auto& info) {
  return str(info.param.family, "_", info.param.method, "_", info.index);
});

TEST(MemoryPlan, WhatHasNoMeaningIsRefused) {
  const auto model = load_model(tiny_files(tiny_config("llama")), {.dtype = "fp32"});
  EXPECT_THROW(model->set_memory({MemoryMode::lean, 2}), Error);
  model->set_memory({MemoryMode::checkpoint, 2});
}

}  // namespace
}  // namespace smidgen
