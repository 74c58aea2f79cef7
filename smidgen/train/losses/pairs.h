// Losses of pairs: a chosen and a rejected answer to one prompt. A loss brings a formula over
// log-probabilities; forward passes, the reference and the metrics are here.
#pragma once

#include "smidgen/train/losses/registry.h"

namespace smidgen {

// Of p pairs, all fp64 [p].
struct PairScores {
  at::Tensor chosen, rejected;                      // log p of the answers, summed over tokens
  at::Tensor reference_chosen, reference_rejected;  // of the bare base; where asked for
  at::Tensor chosen_tokens, rejected_tokens;        // answer tokens
  at::Tensor chosen_all;                            // log p of prompt and chosen; where asked for
};

struct PairLosses {
  at::Tensor losses;                            // [p], differentiable
  at::Tensor chosen_rewards, rejected_rewards;  // [p], for the metrics
};

class PairObjective : public Objective {
 public:
  // The formula. `shares` below has been set for the step.
  virtual PairLosses losses(const PairScores& scores, Tally& tally) const = 0;
  virtual bool needs_reference() const { return false; }
  virtual bool needs_all() const { return false; }

  void begin(const LossScene& scene, const MicroBatches& micro) override;
  at::Tensor sum(const LossScene& scene, std::span<const int64_t> units, Tally& tally) override;

  // Pairs of the step over its chosen tokens. A mean over tokens of a batch becomes a sum over
  // pairs by it: sum_u tokens_u(nll) * pairs / tokens, over pairs.
  double pairs_per_answer = 1;  // tokens of chosen answers
  double pairs_per_token = 1;   // tokens of prompt and chosen answer after the first
};

}  // namespace smidgen
