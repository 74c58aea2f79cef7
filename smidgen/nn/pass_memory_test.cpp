// Closed forms and laws of the allocation plan. That its sum is what a process holds is measured by
// tests/command/test_plan.py.
#include "smidgen/nn/pass_memory.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/nn/ops.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

constexpr int kSlot = 1;

// y += B A x with fresh factors, as LoRA hangs it on.
class LowRank : public Attachment {
 public:
  explicit LowRank(Tensors p) : Attachment({.add = true}, std::move(p)) {}
  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors& p) const override {
    return at::linear(at::linear(x, p[0]), p[1]);
  }
  std::optional<LowRankDelta> low_rank(const Tensors& p) const override {
    return LowRankDelta{p[0], p[1], 1};
  }
  Tensors low_rank_backward(const Tensors&, const at::Tensor& da,
                            const at::Tensor& db) const override {
    return {da, db};
  }
};

TEST(PassMemory, PartsInARowKeepTheirSumAndPeakOnce) {
  PassMemory m{.kept = 10, .forward = 15, .backward = 12};
  m.then({.kept = 5, .forward = 20, .backward = 30});
  EXPECT_EQ(m.kept, 15);
  EXPECT_EQ(m.forward, 30);   // the second, with what the first keeps
  EXPECT_EQ(m.backward, 40);  // likewise: the first is freed last
  m.then({.kept = 1, .forward = 2, .backward = 3});
  EXPECT_EQ(m.backward, 40) << "a small end does not raise the peak";
}

TEST(PassMemory, AHostKeepsItsInputAndInnerRows) {
  const TinySpec spec{.width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .inner = 96};
  for (const bool trained : {false, true}) {
    const auto model = make_tiny_llama(spec);
    const HostSite q = model->find("model.layers.0.self_attn.q_proj");
    const auto& group = dynamic_cast<const LinearGroup&>(*q.host);
    constexpr int64_t kRank = 8, kRows = 48;
    if (trained) {
      q.slots().attach(kSlot, std::make_shared<LowRank>(
                                  Tensors{torch::randn({kRank, 64}, torch::requires_grad()),
                                          torch::randn({64, kRank}, torch::requires_grad())}));
    }
    const Rows rows{.segments = {{kSlot, 0, kRows}}, .count = kRows};
    const PassMemory m = linear_memory(group, rows, 4, false, false);
    // Nothing for a frozen host; the input and x A^T for a low-rank one.
    EXPECT_EQ(m.kept, trained ? 4 * kRows * (64 + kRank) : 0);
    EXPECT_GE(m.forward, m.kept + 4 * kRows * group.out_features());
    EXPECT_GE(m.backward, m.kept + 4 * kRows * (64 + group.out_features()));
  }
}

TEST(PassMemory, GrowsInStepWithRowsAndBlocks) {
  const auto kept = [](int64_t layers, int64_t n) {
    const auto model = make_tiny_llama({.layers = layers});
    for (const auto& host : model->hosts()) {
      if (host->sites().front().kind != SiteKind::linear || host->sites().front().output_head)
        continue;
      const Site& site = host->sites().front();
      host->slots(0).attach(kSlot, std::make_shared<LowRank>(Tensors{
                                       torch::randn({2, site.in}, torch::requires_grad()),
                                       torch::randn({site.out, 2}, torch::requires_grad())}));
    }
    return model->pass_memory({.segments = {{kSlot, 0, n}}, .count = n}, n).kept;
  };
  const int64_t one = kept(1, 100), two = kept(2, 100), three = kept(3, 100);
  EXPECT_EQ(two - one, three - two);
  EXPECT_EQ(kept(2, 200), 2 * two);
  EXPECT_GT(two, one);
}

TEST(PassMemory, NothingIsKeptBelowTheFirstTrainedBlock) {
  const auto kept_with_adapter_in = [](int64_t layer) {
    const auto model = make_tiny_llama({.layers = 4});
    const HostSite site = model->find(str("model.layers.", layer, ".mlp.down_proj"));
    site.slots().attach(kSlot, std::make_shared<LowRank>(Tensors{
                                   torch::randn({2, site.site().in}, torch::requires_grad()),
                                   torch::randn({site.site().out, 2}, torch::requires_grad())}));
    return model->pass_memory({.segments = {{kSlot, 0, 64}}, .count = 64}, 64).kept;
  };
  EXPECT_LT(kept_with_adapter_in(3), kept_with_adapter_in(2));
  EXPECT_LT(kept_with_adapter_in(2), kept_with_adapter_in(0));
}

}  // namespace
}  // namespace smidgen
