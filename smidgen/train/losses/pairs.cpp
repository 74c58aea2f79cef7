#include "smidgen/train/losses/pairs.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/train/losses/sequences.h"

namespace smidgen {

namespace {

at::Tensor counts(const std::vector<int64_t>& all, size_t side) {
  std::vector<double> out;
  for (size_t s = side; s < all.size(); s += 2) out.push_back(static_cast<double>(all[s]));
  return torch::tensor(out, at::kDouble);
}

at::Tensor side(const at::Tensor& scores, int64_t which) {
  return scores.view({-1, 2}).select(1, which);
}

}  // namespace

void PairObjective::begin(const LossScene& scene, const MicroBatches& micro) {
  double pairs = 0, answers = 0, tokens = 0;
  for (const auto& units : micro) {
    for (const int64_t u : units) {
      const auto marks = scene.data.answer(2 * u);
      pairs += 1;
      answers += static_cast<double>(std::count(marks.begin(), marks.end(), uint8_t{1}));
      tokens += static_cast<double>(marks.size() - 1);
    }
  }
  pairs_per_answer = pairs / answers;
  pairs_per_token = pairs / tokens;
}

at::Tensor PairObjective::sum(const LossScene& scene, std::span<const int64_t> units,
                              Tally& tally) {
  std::vector<int64_t> sequences;
  for (const int64_t u : units) sequences.insert(sequences.end(), {2 * u, 2 * u + 1});
  const PackedBatch packed = pack(scene.data, sequences);
  std::vector<bool> all;
  if (needs_all()) {
    for (size_t s = 0; s < sequences.size(); ++s) all.push_back(s % 2 == 0);
  }
  PairScores scores;
  if (needs_reference()) {
    torch::NoGradGuard no_grad;
    const SequenceScores base = score_sequences(scene.model, packed, 0);
    scores.reference_chosen = side(base.answer, 0);
    scores.reference_rejected = side(base.answer, 1);
  }
  const SequenceScores policy = score_sequences(scene.model, packed, scene.slot, all);
  scores.chosen = side(policy.answer, 0);
  scores.rejected = side(policy.answer, 1);
  scores.chosen_tokens = counts(policy.answer_tokens, 0);
  scores.rejected_tokens = counts(policy.answer_tokens, 1);
  if (needs_all()) scores.chosen_all = side(policy.all, 0);

  const PairLosses made = losses(scores, tally);
  tally.units += std::ssize(units);
  tally.answers += packed.answer_tokens;
  const at::Tensor margins = made.chosen_rewards - made.rejected_rewards;
  tally.add("rewards/chosen", made.chosen_rewards);
  tally.add("rewards/rejected", made.rejected_rewards);
  tally.add("rewards/margins", margins);
  tally.add("rewards/accuracies", margins.gt(0).to(at::kDouble));
  tally.add_each(made.losses);
  return made.losses.sum();
}

}  // namespace smidgen
