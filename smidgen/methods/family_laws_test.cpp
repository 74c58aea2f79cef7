// Adapters on every family: LoRA on all linear sites of each tiny model, without a line about any
// family.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/methods/disturb_test.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

class FamilyAdapters : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_ = load_model(tiny_files(tiny_config(GetParam())), {.dtype = "fp32"});
    adapter_ =
        Adapter::create(*model_, "lora", {{"rank", 3}, {"alpha", 7}, {"target", "all-linear"}}, 5);
  }

  at::Tensor logits(int slot) const {
    const torch::NoGradGuard no_grad;
    const Stream stream = make_stream({first_, second_}, {slot, slot});
    return model_->logits(model_->forward(stream), *stream.rows);
  }

  static double distance(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).abs().max() / b.abs().max()).item<double>();
  }

  const std::vector<int32_t> first_ = {3, 14, 15, 9, 2, 6, 5}, second_ = {35, 8, 9, 7, 2, 38, 46};
  std::unique_ptr<Model> model_;
  std::unique_ptr<Adapter> adapter_;
};

TEST_P(FamilyAdapters, AFreshAdapterIsANoOpToTheBit) {
  const at::Tensor before = logits(0);
  adapter_->attach(*model_, 1);
  EXPECT_TRUE(at::equal(logits(1), before));
}

TEST_P(FamilyAdapters, MergedEqualsAttachedAndUnmergingRestoresTheBits) {
  const at::Tensor before = logits(0);
  disturb(*adapter_);
  adapter_->attach(*model_, 1);
  const at::Tensor attached = logits(1);
  EXPECT_GT(distance(attached, before), 1e-2);
  Adapter::detach(*model_, 1);
  merge(*model_, *adapter_);
  EXPECT_LT(distance(logits(0), attached), 2e-5);
  unmerge(*model_);
  EXPECT_TRUE(at::equal(logits(0), before));
}

// A base that stays in its file is merged there too: the same values, and none in memory.
TEST_P(FamilyAdapters, AStoredBaseMergesToTheSameBitsAndKeepsNothing) {
  disturb(*adapter_);
  const auto stored =
      load_model(tiny_files(tiny_config(GetParam())), {.dtype = "fp32", .base_format = "stored"});
  merge(*model_, *adapter_);
  merge(*stored, *adapter_);
  for (const auto& host : stored->hosts()) {
    const bool norm = host->sites().front().kind == SiteKind::norm;
    EXPECT_EQ(host->weight().current().bytes() == 0, !norm) << host->sites().front().name;
  }
  const auto wanted = model_->tensors(), got = stored->tensors();
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const int64_t rows = got[i].shape[0];
    EXPECT_TRUE(got[i].rows(0, rows).equal(wanted[i].rows(0, rows))) << got[i].name;
  }
}

TEST_P(FamilyAdapters, ReferenceEqualsFastInLossAndEveryGradient) {
  disturb(*adapter_);
  adapter_->attach(*model_, 1);
  Batch batch;
  batch.main = make_stream({first_, second_}, {1, 1});
  batch.targets = next_token_targets(batch.main);
  double loss[2];
  std::map<std::string, at::Tensor> grads[2];
  for (const KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    const auto i = static_cast<size_t>(mode);
    adapter_->store().zero_grad();
    const at::Tensor sum = model_->loss_sum(model_->forward(batch.main), batch);
    sum.backward();
    loss[i] = sum.item<double>();
    for (const auto& p : adapter_->store().parameters())
      grads[i][p->spec().path()] = p->gradient().clone();
  }
  EXPECT_NEAR(loss[1], loss[0], 1e-5 * loss[0]);
  int silent = 0;
  for (const auto& [path, ref] : grads[0]) {
    const double size = ref.abs().max().item<double>();
    silent += size == 0;
    EXPECT_LE((grads[1][path] - ref).abs().max().item<double>(), 2e-4 * size) << path;
  }
  // An expert that no token chose has no gradient; nothing else may be without one.
  EXPECT_LE(silent, static_cast<int>(grads[0].size()) / 4);
  if (GetParam().find("moe") == std::string::npos && GetParam() != "mixtral") {
    EXPECT_EQ(silent, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyAdapters, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smidgen
