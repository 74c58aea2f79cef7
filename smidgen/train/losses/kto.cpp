// Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306): answers with a label,
// wanted or not, without pairs.
//
//   h = log p(answer) - log p_base(answer);  z = max(0, mean over the step of h'), without
//   gradient, where h' is the h of a prompt with the answer of another row wanted desirable_weight
//   (1 - s(beta (h - z))) unwanted   undesirable_weight (1 - s(beta (z - h)))
// Mean over the rows of a step. Rewards are beta h. As KTOTrainer of trl 1.16, loss_type kto. There
// the other row is the one before within a batch of the data set, the batch's first taking the
// last; here it is the one before in the data set, the first taking the last, and z is the mean
// over the step rather than over a micro-batch.
#include "smidgen/train/losses/kto.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/train/losses/registry.h"
#include "smidgen/train/losses/sequences.h"

namespace smidgen {

at::Tensor kto_losses(const at::Tensor& ratios, const at::Tensor& wanted, double kl,
                      const KtoConfig& c) {
  const at::Tensor up = c.desirable_weight * (1 - torch::sigmoid(c.beta * (ratios - kl)));
  const at::Tensor down = c.undesirable_weight * (1 - torch::sigmoid(c.beta * (kl - ratios)));
  return torch::where(wanted, up, down);
}

namespace {

// The prompt of `unit` with the answer of the row before.
Sample mismatched(const Dataset& data, int64_t unit) {
  const int64_t other = unit == 0 ? data.units() - 1 : unit - 1;
  const auto cut = [&](int64_t i) {
    const auto marks = data.answer(i);
    return std::find(marks.begin(), marks.end(), uint8_t{1}) - marks.begin();
  };
  const auto prompt = data.ids(unit).first(static_cast<size_t>(cut(unit)));
  const auto answer = data.ids(other).subspan(static_cast<size_t>(cut(other)));
  const auto marks = data.answer(other).subspan(static_cast<size_t>(cut(other)));
  Sample sample;
  sample.ids.assign(prompt.begin(), prompt.end());
  sample.ids.insert(sample.ids.end(), answer.begin(), answer.end());
  sample.answer.assign(prompt.size(), 0);
  sample.answer.insert(sample.answer.end(), marks.begin(), marks.end());
  sample.where = data.where(unit);
  return sample;
}

class KtoObjective : public Objective {
 public:
  explicit KtoObjective(KtoConfig config) : c_(config) {}

  void begin(const LossScene& scene, const MicroBatches& micro) override {
    if (scene.data.units() < 2)
      throw Error(ErrorKind::data,
                  "kto needs two rows at least: the answer of one is scored after "
                  "the prompt of another",
                  scene.data.where(0));
    torch::NoGradGuard no_grad;
    double sum = 0;
    int64_t count = 0;
    for (const auto& units : micro) {
      std::vector<Sample> others;
      for (const int64_t u : units) {
        others.push_back(mismatched(scene.data, u));
        // Two halves that fit the model each may not fit it together.
        const auto room = static_cast<size_t>(scene.model.context());
        if (others.back().ids.size() > room) {
          others.back().ids.resize(room);
          others.back().answer.resize(room);
        }
      }
      const PackedBatch packed = pack(others);
      const at::Tensor ratios = score_sequences(scene.model, packed, scene.slot).answer -
                                score_sequences(scene.model, packed, 0).answer;
      sum += ratios.sum().item<double>();
      count += ratios.numel();
    }
    kl_ = std::max(0.0, sum / static_cast<double>(count));
  }

  at::Tensor sum(const LossScene& scene, std::span<const int64_t> units, Tally& tally) override {
    const PackedBatch packed = pack(scene.data, units);
    at::Tensor base;
    {
      torch::NoGradGuard no_grad;
      base = score_sequences(scene.model, packed, 0).answer;
    }
    const at::Tensor ratios = score_sequences(scene.model, packed, scene.slot).answer - base;
    const at::Tensor wanted = torch::empty({std::ssize(units)}, at::kBool);
    for (int64_t i = 0; i < std::ssize(units); ++i)
      wanted[i].fill_(scene.data.label(units[static_cast<size_t>(i)]));
    const at::Tensor each = kto_losses(ratios, wanted, kl_, c_);
    tally.units += std::ssize(units);
    tally.answers += packed.answer_tokens;
    const at::Tensor rewards = c_.beta * ratios.detach();
    tally.add("rewards/chosen", rewards.masked_select(wanted));
    tally.add("rewards/rejected", rewards.masked_select(~wanted));
    tally.add("kl", kl_ * static_cast<double>(units.size()), std::ssize(units));
    tally.add_each(each);
    return each.sum();
  }

 private:
  KtoConfig c_;
  double kl_ = 0;
};

class KtoLoss : public Loss {
 public:
  std::string summary() const override {
    return "Answers labelled as wanted or not, against the base (KTO)";
  }
  std::string source() const override { return "arXiv:2402.01306, trl 1.16 KTOTrainer"; }
  Json fields() const override { return describe<KtoConfig>(); }
  DataForm form() const override { return DataForm::labelled; }
  std::unique_ptr<Objective> start(const Json& config, const LossStart&) const override {
    return std::make_unique<KtoObjective>(read_config<KtoConfig>(config, "loss"));
  }
};

}  // namespace

std::unique_ptr<const Loss> make_kto_loss() {
  return std::make_unique<KtoLoss>();
}

}  // namespace smidgen
