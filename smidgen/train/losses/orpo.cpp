// Odds ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691): cross-entropy of the
// chosen text and a push on the odds of the chosen answer over the rejected one; no reference.
//
//   l = mean over an answer's tokens of log p; log odds(l) = l - log(1 - exp l)
//   loss = nll - beta mean_pairs log s(log odds(l_chosen) - log odds(l_rejected))
//   nll  = cross-entropy of prompt AND chosen answer, mean over all their tokens in the step
// Rewards are beta l. As ORPOTrainer of trl 1.16; there the mean of nll is over a micro-batch, here
// over the step, so that how a step is cut does not matter.
#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/train/losses/pairs.h"

namespace smidgen {

namespace {

struct OrpoConfig {
  double beta = 0.1;
};

template <class V>
void fields(V& v, OrpoConfig& c) {
  v("beta", c.beta, {.help = "Weight of the odds ratio beside the cross-entropy", .min = 0});
}

// log(1 - exp(x)) for x < 0, exact at both ends.
at::Tensor log1mexp(const at::Tensor& x) {
  const at::Tensor near = x > -std::log(2.0);
  // Each branch sees only what it is good at: the other's gradient would be NaN * 0.
  const at::Tensor low = torch::where(near, torch::full_like(x, -1.0), x);
  const at::Tensor high = torch::where(near, x, torch::full_like(x, -1.0));
  return torch::where(near, torch::log(-torch::expm1(high)), torch::log1p(-torch::exp(low)));
}

class OrpoObjective : public PairObjective {
 public:
  explicit OrpoObjective(OrpoConfig config) : c_(config) {}
  bool needs_all() const override { return true; }

  PairLosses losses(const PairScores& s, Tally& tally) const override {
    const at::Tensor chosen = s.chosen / s.chosen_tokens, rejected = s.rejected / s.rejected_tokens;
    const at::Tensor odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected));
    const at::Tensor ratio = torch::log_sigmoid(odds);
    const at::Tensor nll = -s.chosen_all * pairs_per_token;
    tally.add("nll_loss", nll);
    tally.add("log_odds_ratio", ratio);
    return {nll - c_.beta * ratio, c_.beta * chosen.detach(), c_.beta * rejected.detach()};
  }

 private:
  OrpoConfig c_;
};

class OrpoLoss : public Loss {
 public:
  std::string summary() const override {
    return "Cross-entropy of the chosen text and the odds of chosen over rejected (ORPO)";
  }
  std::string source() const override { return "arXiv:2403.07691, trl 1.16 ORPOTrainer"; }
  Json fields() const override { return describe<OrpoConfig>(); }
  DataForm form() const override { return DataForm::pairs; }
  std::unique_ptr<Objective> start(const Json& config, const LossStart&) const override {
    return std::make_unique<OrpoObjective>(read_config<OrpoConfig>(config, "loss"));
  }
};

}  // namespace

std::unique_ptr<const Loss> make_orpo_loss() {
  return std::make_unique<OrpoLoss>();
}

}  // namespace smidgen
