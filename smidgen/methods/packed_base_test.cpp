// Training on a base that stays packed, against the same values unpacked.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/owned_tensors.h"
#include "smidgen/io/quantise.h"
#include "smidgen/kernels/target.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

// A tiny llama whose matrices lie in blocks, those of q in others than those of k and v. The tables
// of tokens are bf16 unless `tables`.
ModelFiles block_files(bool tables) {
  ModelFiles files = tiny_llama_files({.width = 64, .head_dim = 16, .inner = 96, .tied = false});
  auto blocks = std::make_shared<OwnedTensors>("tiny model in blocks");
  for (const std::string& name : files.tensors->names()) {
    const TensorView view = files.tensors->view(name);
    const bool table = name.find("embed") != std::string::npos || name.starts_with("lm_head");
    Format format = Format::f32;
    if (view.shape.size() == 2) format = table && !tables ? Format::bf16 : Format::q4_1;
    if (name.find("q_proj") != std::string::npos) format = Format::q8_0;
    std::vector<float> values(static_cast<size_t>(view.elements()));
    to_f32(view, values);
    from_f32(format, values, blocks->make(name, format, view.shape), name);
  }
  files.tensors = std::move(blocks);
  return files;
}

struct Step {
  double loss = 0;
  std::vector<at::Tensor> gradients;
};

Step tuning_step(Model& model) {
  const auto adapter = Adapter::create(model, "lora", {{"rank", 4}, {"alpha", 12}}, 5);
  for (const auto& p : adapter->store().parameters()) {
    const Rng rng(11, "disturb", 0, p->spec().path());
    at::Tensor value = p->value().detach();
    for (int64_t i = 0; i < value.numel(); ++i)
      value.data_ptr<float>()[i] += static_cast<float>(0.1 * rng.normal(static_cast<uint64_t>(i)));
  }
  adapter->attach(model, 1);
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 67);
  Batch batch;
  batch.main = make_stream(ids, 1);
  batch.targets = next_token_targets(batch.main);
  const at::Tensor sum = model.loss_sum(model.forward(batch.main), batch);
  sum.backward();
  Step step{sum.item<double>(), {}};
  for (const auto& p : adapter->store().parameters())
    step.gradients.push_back(p->gradient().clone());
  return step;
}

double worst(const Step& a, const Step& b) {
  double most = std::abs(a.loss - b.loss) / b.loss;
  for (size_t i = 0; i < b.gradients.size(); ++i) {
    const at::Tensor d = (a.gradients[i] - b.gradients[i]).norm() / b.gradients[i].norm();
    most = std::max(most, d.item<double>());
  }
  return most;
}

TEST(PackedBase, LossAndGradientsEqualThoseOfTheUnpackedBaseBitForBit) {
  if (!uses_bf16_products()) GTEST_SKIP() << "no dot products of bf16 here";
  const ModelFiles files = block_files(false);
  const auto packed = load_model(files, {.dtype = "bf16"});
  const auto plain = load_model(files, {.dtype = "bf16", .base_format = "bf16"});
  EXPECT_LT(packed->weight_bytes(), 2 * plain->weight_bytes() / 3);
  const Step a = tuning_step(*packed), b = tuning_step(*plain);
  EXPECT_EQ(a.loss, b.loss);
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (size_t i = 0; i < a.gradients.size(); ++i)
    EXPECT_TRUE(torch::equal(a.gradients[i], b.gradients[i])) << i;
}

// The tables are read unrounded, so nothing is equal to the bit any more; but a packed base must be
// as near to the exact step as one unpacked to bf16 is.
TEST(PackedBase, TablesOfTokensArePackedToo) {
  const ModelFiles files = block_files(true);
  const auto step = [&](const char* dtype, const char* format) {
    const auto model = load_model(files, {.dtype = dtype, .base_format = format});
    return tuning_step(*model);
  };
  const Step exact = step("fp32", "fp32");
  EXPECT_LT(worst(step("fp32", "native"), exact), 1e-5);
  EXPECT_LT(worst(step("bf16", "native"), exact), 1.2 * worst(step("bf16", "bf16"), exact));
}

TEST(PackedBase, MergesIntoWhatTheArithmeticReads) {
  const ModelFiles files = block_files(true);
  const auto packed = load_model(files, {.dtype = "fp32"});
  const auto plain = load_model(files, {.dtype = "fp32", .base_format = "fp32"});
  for (Model* model : {packed.get(), plain.get()}) {
    const auto adapter = Adapter::create(*model, "lora", {{"init", "random"}}, 5);
    merge(*model, *adapter);
  }
  const HostSite a = packed->find("model.layers.0.self_attn.q_proj");
  const HostSite b = plain->find("model.layers.0.self_attn.q_proj");
  EXPECT_EQ(a.host->weight().current().format(), "fp32");
  EXPECT_TRUE(
      torch::equal(a.host->weight().current().tile(0, 64), b.host->weight().current().tile(0, 64)));
  a.host->weight().unmerge();
  EXPECT_EQ(a.host->weight().current().format(), "q8_0+q4_1");
}

}  // namespace
}  // namespace smidgen
