// What the tests of the three variants share: the published formulas written out block by block.
#pragma once

#include <functional>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/methods/disturb_test.h"
#include "smidgen/nn/stack.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen::meft_checks {

// up(gelu(down(x))) of the adapter that stands by itself at a block; nothing where there is none.
inline at::Tensor own(const Adapter& adapter, const std::string& block, const at::Tensor& x) {
  const auto has = [&](const char* name) {
    for (const auto& p : adapter.store().parameters()) {
      if (p->spec().path() == block + "." + name) return p->value().detach();
    }
    return at::Tensor();
  };
  if (!has("adapter_up.weight").defined()) return at::zeros_like(x);
  const at::Tensor h =
      at::gelu(at::linear(x, has("adapter_down.weight"), has("adapter_down.bias")));
  return at::linear(h, has("adapter_up.weight"), has("adapter_up.bias"));
}

// Runs the blocks as it is told.
class Formula : public StackAttachment {
 public:
  using Run = std::function<at::Tensor(const Stack&, const at::Tensor& x)>;
  explicit Formula(Run run) : StackAttachment(Tensors{}), run_(std::move(run)) {}
  at::Tensor run(const Stack& stack, const at::Tensor& x, const MemoryPlan&) const override {
    return run_(stack, x);
  }
  PassMemory memory(const StackMemory&, const MemoryPlan&) const override { return {}; }
  Json examine(const Stack&, const at::Tensor&) const override { return nullptr; }

 private:
  Run run_;
};

inline at::Tensor hidden(const Model& model, int slot) {
  const torch::NoGradGuard no_grad;
  const std::vector<int32_t> first = {3, 14, 15, 9, 2, 6, 5}, second = {35, 8, 9, 7, 2, 38};
  return model.forward(make_stream({first, second}, {slot, slot}));
}

inline double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

// The method against `formula`, which sees the same adapters inside the blocks.
inline void expect_formula(
    const std::string& family, const std::string& method, Json config,
    const std::function<at::Tensor(const Adapter&, const Stack&, const at::Tensor&)>& formula) {
  const auto model = load_model(tiny_files(tiny_config(family)), {.dtype = "fp32"});
  for (const char* reverse : {"exact", "fp64", "anchors", "cached"}) {
    config["reverse"] = reverse;
    const auto adapter = Adapter::create(*model, method, config, 5);
    disturb(*adapter, 0.1);
    adapter->attach(*model, 1);
    for (const Site& site : model->module_sites()) {
      SlotTable& slots = model->find(site.name).slots();
      if (site.kind == SiteKind::stack) {
        slots.attach(2, std::make_shared<Formula>([&](const Stack& stack, const at::Tensor& x) {
                       return formula(*adapter, stack, x);
                     }));
      } else {
        for (const AttachmentPtr& a : slots.at(1)) slots.attach(2, a);
      }
    }
    EXPECT_LT(distance(hidden(*model, 1), hidden(*model, 2)), 2e-6) << family << " " << reverse;
    EXPECT_GT(distance(hidden(*model, 1), hidden(*model, 0)), 1e-2);
    model->detach(1);
    model->detach(2);
  }
}

}  // namespace smidgen::meft_checks
