#include "smidgen/nn/packed.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

at::Tensor to_long(const std::vector<int32_t>& values) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

}  // namespace

Batch to_batch(const PackedBatch& packed, int slot) {
  SMIDGEN_ASSERT(!packed.starts.empty() &&
                 packed.starts.back() == static_cast<int64_t>(packed.ids.size()));
  SMIDGEN_ASSERT(packed.targets.size() == packed.ids.size() &&
                 packed.positions.size() == packed.ids.size());
  Batch batch;
  batch.main.ids = to_long(packed.ids);
  batch.main.positions = to_long(packed.positions);
  batch.main.starts.assign(packed.starts.begin(), packed.starts.end());
  batch.main.slots.assign(packed.starts.size() - 1, slot);
  auto rows = std::make_shared<Rows>();
  rows->count = batch.main.size();
  rows->segments.push_back({slot, 0, rows->count});
  batch.main.rows = std::move(rows);
  batch.targets = to_long(packed.targets);
  batch.answers = packed.answer_tokens;
  return batch;
}

}  // namespace smidgen
