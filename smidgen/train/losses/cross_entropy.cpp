// Cross-entropy of the answer tokens: loss = sum_t -log p(token_t | those before) / answer tokens.
#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/nn/packed.h"
#include "smidgen/train/losses/registry.h"

namespace smidgen {

namespace {

struct CrossEntropyConfig {};
template <class V>
void fields(V&, CrossEntropyConfig&) {}

class CrossEntropyObjective : public Objective {
 public:
  at::Tensor sum(const LossScene& scene, std::span<const int64_t> units, Tally& tally) override {
    const Batch batch = to_batch(pack(scene.data, units), scene.slot);
    tally.answers += batch.answers;
    tally.units += std::ssize(units);
    return scene.model.loss_sum(scene.model.forward(batch.main), batch);
  }
  double divisor(const Tally& tally) const override { return static_cast<double>(tally.answers); }
  EvalResult evaluate(const LossScene& scene, const EvalOptions& options) override {
    EvalOptions at = options;
    at.slot = scene.slot;
    return smidgen::evaluate(scene.model, scene.data, at);
  }
  bool per_token() const override { return true; }
};

class CrossEntropyLoss : public Loss {
 public:
  std::string summary() const override { return "The answer tokens, each from those before it"; }
  std::string source() const override { return "torch.nn.CrossEntropyLoss, trl SFTTrainer"; }
  Json fields() const override { return describe<CrossEntropyConfig>(); }
  std::unique_ptr<Objective> start(const Json& config, const LossStart&) const override {
    read_config<CrossEntropyConfig>(config, "loss");
    return std::make_unique<CrossEntropyObjective>();
  }
};

}  // namespace

std::unique_ptr<const Loss> make_cross_entropy_loss() {
  return std::make_unique<CrossEntropyLoss>();
}

}  // namespace smidgen
