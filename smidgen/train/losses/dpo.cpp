// Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290): the adapter is moved so
// that the chosen answer gains on the rejected one, measured against the bare base.
//
//   h_c = log p(chosen) - log p_base(chosen), h_r likewise; d = beta (h_c - h_r)
//   sigmoid  -log s(d), s the logistic function
//   hinge    max(0, 1 - d)                                     (SLiC, arXiv:2305.10425)
//   ipo      (h_c / n_c - h_r / n_r - 1 / (2 beta))^2          (arXiv:2310.12036; n answer tokens)
//   robust   (-(1 - e) log s(d) + e log s(-d)) / (1 - 2 e)     (arXiv:2403.00409; e
//   label_smoothing)
// Mean over the pairs of a step. Rewards are beta h. As DPOTrainer of trl 1.16, loss_type of the
// same name, f_divergence reverse_kl.
#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/train/losses/pairs.h"

namespace smidgen {

namespace {

struct DpoConfig {
  double beta = 0.1;
  std::string variant = "sigmoid";
  double label_smoothing = 0;
};

template <class V>
void fields(V& v, DpoConfig& c) {
  v("beta", c.beta, {.help = "How strongly the model is held to the base", .min = 1e-6});
  v.choice("variant", c.variant, {"sigmoid", "hinge", "ipo", "robust"},
           {.help = "Formula: docs/losses.md"});
  v("label_smoothing", c.label_smoothing,
    {.help = "robust: share of the pairs that are taken to be the wrong way round",
     .min = 0,
     .max = 0.4999});
}

class DpoObjective : public PairObjective {
 public:
  explicit DpoObjective(DpoConfig config) : c_(std::move(config)) {}
  bool needs_reference() const override { return true; }

  PairLosses losses(const PairScores& s, Tally&) const override {
    const at::Tensor chosen = s.chosen - s.reference_chosen,
                     rejected = s.rejected - s.reference_rejected;
    const at::Tensor d = c_.beta * (chosen - rejected);
    PairLosses out{{}, c_.beta * chosen.detach(), c_.beta * rejected.detach()};
    if (c_.variant == "hinge") {
      out.losses = torch::relu(1 - d);
    } else if (c_.variant == "ipo") {
      out.losses =
          (chosen / s.chosen_tokens - rejected / s.rejected_tokens - 1 / (2 * c_.beta)).square();
    } else if (c_.variant == "robust") {
      const double e = c_.label_smoothing;
      out.losses = (-(1 - e) * torch::log_sigmoid(d) + e * torch::log_sigmoid(-d)) / (1 - 2 * e);
    } else {
      out.losses = -torch::log_sigmoid(d);
    }
    return out;
  }

 private:
  DpoConfig c_;
};

class DpoLoss : public Loss {
 public:
  std::string summary() const override {
    return "The chosen answer over the rejected one, against the base (DPO, IPO, SLiC)";
  }
  std::string source() const override { return "arXiv:2305.18290, trl 1.16 DPOTrainer"; }
  Json fields() const override { return describe<DpoConfig>(); }
  DataForm form() const override { return DataForm::pairs; }
  std::unique_ptr<Objective> start(const Json& config, const LossStart&) const override {
    const auto c = read_config<DpoConfig>(config, "loss");
    if (c.label_smoothing > 0 && c.variant != "robust")
      throw Error(ErrorKind::usage, "label_smoothing acts with the variant robust only",
                  "loss.label_smoothing", "--variant robust");
    return std::make_unique<DpoObjective>(c);
  }
};

}  // namespace

std::unique_ptr<const Loss> make_dpo_loss() {
  return std::make_unique<DpoLoss>();
}

}  // namespace smidgen
