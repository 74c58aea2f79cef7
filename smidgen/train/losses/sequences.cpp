#include "smidgen/train/losses/sequences.h"

#include <torch/torch.h>

#include "smidgen/nn/packed.h"
#include "smidgen/nn/row_values.h"

namespace smidgen {

SequenceScores score_sequences(const Model& model, const PackedBatch& packed, int slot,
                               const std::vector<bool>& all) {
  const auto sequences = static_cast<int64_t>(packed.starts.size()) - 1;
  SequenceScores scores;
  scores.answer_tokens.assign(static_cast<size_t>(sequences), 0);
  scores.all_tokens.assign(static_cast<size_t>(sequences), 0);
  std::vector<int64_t> rows, targets, owner;
  std::vector<double> answer;
  for (int64_t s = 0; s < sequences; ++s) {
    const auto at = static_cast<size_t>(s);
    const bool whole = !all.empty() && all[at];
    for (int32_t i = packed.starts[at]; i + 1 < packed.starts[at + 1]; ++i) {
      const bool trained = packed.targets[static_cast<size_t>(i)] != kIgnoreTarget;
      if (!trained && !whole) continue;
      rows.push_back(i);
      targets.push_back(packed.ids[static_cast<size_t>(i) + 1]);
      owner.push_back(s);
      answer.push_back(trained);
      scores.answer_tokens[at] += trained;
      scores.all_tokens[at] += 1;
    }
  }
  const Batch batch = to_batch(packed, slot);
  const at::Tensor hidden = model.forward(batch.main);
  const at::Tensor values = row_values(model, hidden, slot, torch::tensor(rows, at::kLong),
                                       log_probability_of(torch::tensor(targets, at::kLong)))
                                .to(at::kDouble);
  const at::Tensor owners = torch::tensor(owner, at::kLong);
  const at::Tensor none = torch::zeros({sequences}, at::kDouble);
  scores.answer = none.index_add(0, owners, values * torch::tensor(answer, at::kDouble));
  if (!all.empty()) scores.all = none.index_add(0, owners, values);
  return scores;
}

}  // namespace smidgen
