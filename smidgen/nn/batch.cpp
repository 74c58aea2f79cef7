#include "smidgen/nn/batch.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

Rows select(const Rows& rows, const at::Tensor& picked) {
  const int64_t* first = picked.const_data_ptr<int64_t>();
  const int64_t* last = first + picked.numel();
  const auto before = [&](int64_t row) { return std::lower_bound(first, last, row) - first; };
  Rows fewer;
  fewer.count = picked.numel();
  fewer.grad_begin = before(rows.grad_begin);
  for (const Segment& s : rows.segments) {
    const Segment part{s.slot, before(s.begin), before(s.end)};
    if (part.begin < part.end) fewer.segments.push_back(part);
  }
  return fewer;
}

Stream make_stream(const std::vector<std::span<const int32_t>>& sequences,
                   const std::vector<int>& slots, const std::vector<int64_t>& offsets) {
  Stream stream;
  stream.starts.push_back(0);
  for (const auto& sequence : sequences) {
    stream.starts.push_back(stream.starts.back() + static_cast<int64_t>(sequence.size()));
  }
  stream.slots = slots.empty() ? std::vector<int>(sequences.size(), 0) : slots;
  SMIDGEN_ASSERT(stream.slots.size() == sequences.size());
  SMIDGEN_ASSERT(offsets.empty() || offsets.size() == sequences.size());
  stream.ids = at::empty({stream.size()}, at::kLong);
  stream.positions = at::empty({stream.size()}, at::kLong);
  int64_t* ids = stream.ids.mutable_data_ptr<int64_t>();
  int64_t* positions = stream.positions.mutable_data_ptr<int64_t>();
  auto rows = std::make_shared<Rows>();
  rows->count = stream.size();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t begin = stream.starts[s];
    const int64_t offset = offsets.empty() ? 0 : offsets[s];
    for (size_t i = 0; i < sequences[s].size(); ++i) {
      ids[begin + static_cast<int64_t>(i)] = sequences[s][i];
      positions[begin + static_cast<int64_t>(i)] = offset + static_cast<int64_t>(i);
    }
    if (!rows->segments.empty() && rows->segments.back().slot == stream.slots[s]) {
      rows->segments.back().end = stream.starts[s + 1];
    } else {
      SMIDGEN_ASSERT(rows->segments.empty() || rows->segments.back().slot < stream.slots[s]);
      rows->segments.push_back({stream.slots[s], begin, stream.starts[s + 1]});
    }
  }
  stream.rows = std::move(rows);
  return stream;
}

Stream make_stream(std::span<const int32_t> ids, int slot, int64_t offset) {
  return make_stream(std::vector<std::span<const int32_t>>{ids}, {slot}, {offset});
}

at::Tensor next_token_targets(const Stream& stream) {
  at::Tensor targets = at::full({stream.size()}, -100, at::kLong);
  const int64_t* ids = stream.ids.const_data_ptr<int64_t>();
  int64_t* out = targets.mutable_data_ptr<int64_t>();
  for (int64_t s = 0; s < stream.sequences(); ++s) {
    for (int64_t i = stream.starts[s]; i + 1 < stream.starts[s + 1]; ++i) out[i] = ids[i + 1];
  }
  return targets;
}

}  // namespace smidgen
