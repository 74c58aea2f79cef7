// Simple preference optimisation (Meng et al. 2024, arXiv:2405.14734): mean log-probabilities with
// a margin; no reference.
//
//   l = mean over an answer's tokens of log p; d = beta (l_chosen - l_rejected) - gamma
//   loss = mean_pairs (-(1 - e) log s(d) - e log s(-d)) + nll_weight * nll
//   nll  = cross-entropy of the chosen answer, mean over its tokens in the step
// Rewards are beta l. As CPOTrainer of trl 1.16 with loss_type simpo; there nll_weight is cpo_alpha
// and is 1 unless set (CPO-SimPO), beta is 0.1 and gamma 0.5; the defaults here are the paper's.
#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/train/losses/pairs.h"

namespace smidgen {

namespace {

struct SimpoConfig {
  double beta = 2;
  double gamma = 1;
  double label_smoothing = 0;
  double nll_weight = 0;
};

template <class V>
void fields(V& v, SimpoConfig& c) {
  v("beta", c.beta, {.help = "Scale of the mean log-probabilities", .min = 1e-6});
  v("gamma", c.gamma, {.help = "Margin by which the chosen answer should win", .min = 0});
  v("label_smoothing", c.label_smoothing,
    {.help = "Share of the pairs that are taken to be the wrong way round", .min = 0, .max = 0.5});
  v("nll_weight", c.nll_weight,
    {.help = "Weight of the chosen answer's cross-entropy beside it", .min = 0});
}

class SimpoObjective : public PairObjective {
 public:
  explicit SimpoObjective(SimpoConfig config) : c_(config) {}

  PairLosses losses(const PairScores& s, Tally& tally) const override {
    const at::Tensor chosen = s.chosen / s.chosen_tokens, rejected = s.rejected / s.rejected_tokens;
    const at::Tensor d = c_.beta * (chosen - rejected) - c_.gamma;
    PairLosses out{{}, c_.beta * chosen.detach(), c_.beta * rejected.detach()};
    out.losses = -(1 - c_.label_smoothing) * torch::log_sigmoid(d) -
                 c_.label_smoothing * torch::log_sigmoid(-d);
    if (c_.nll_weight > 0) {
      const at::Tensor nll = -s.chosen * pairs_per_answer;
      tally.add("nll_loss", nll);
      out.losses = out.losses + c_.nll_weight * nll;
    }
    return out;
  }

 private:
  SimpoConfig c_;
};

class SimpoLoss : public Loss {
 public:
  std::string summary() const override {
    return "The chosen answer over the rejected one by a margin, per token, without a reference "
           "(SimPO)";
  }
  std::string source() const override { return "arXiv:2405.14734, trl 1.16 CPOTrainer"; }
  Json fields() const override { return describe<SimpoConfig>(); }
  DataForm form() const override { return DataForm::pairs; }
  std::unique_ptr<Objective> start(const Json& config, const LossStart&) const override {
    return std::make_unique<SimpoObjective>(read_config<SimpoConfig>(config, "loss"));
  }
};

}  // namespace

std::unique_ptr<const Loss> make_simpo_loss() {
  return std::make_unique<SimpoLoss>();
}

}  // namespace smidgen
