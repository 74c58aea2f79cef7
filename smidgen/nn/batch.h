// A batch is streams: the tokens of several sequences laid end to end, with no padding.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace smidgen {

// Consecutive rows that see the same slot of every host. Slot 0 is the bare base.
struct Segment {
  int slot = 0;
  int64_t begin = 0, end = 0;
};

// What a host needs to know about the rows it is given. Made once per batch and shared by all
// hosts.
struct Rows {
  std::vector<Segment> segments;
  int64_t count = 0;
  int64_t grad_begin = 0;  // first row that is trained; earlier rows are only served
};

// What the rows `picked` (int64, ascending) of a larger set are: the same segments, fewer rows.
Rows select(const Rows& rows, const at::Tensor& picked);

// n rows, s sequences.
struct Stream {
  at::Tensor ids;        // int64 [n]
  at::Tensor positions;  // int64 [n], counted from 0 in each sequence (plus what its cache holds)
  std::vector<int64_t> starts;  // s + 1 offsets into the rows; starts[s] = n
  std::vector<int> slots;       // per sequence, not decreasing
  std::shared_ptr<const Rows> rows;

  int64_t sequences() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t size() const { return starts.empty() ? 0 : starts.back(); }
};

struct Batch {
  Stream main;
  at::Tensor targets;   // int64 [n]: the id that row i must predict, -100 where nothing is asked
  int64_t answers = 0;  // rows with a target
};

// Lays sequences of token ids end to end. `slots` gives one slot for each sequence (empty: all
// `slot`); `offsets` gives the position of each sequence's first token (empty: 0). Sequences must
// come sorted by slot.
Stream make_stream(const std::vector<std::span<const int32_t>>& sequences,
                   const std::vector<int>& slots = {}, const std::vector<int64_t>& offsets = {});
Stream make_stream(std::span<const int32_t> ids, int slot = 0, int64_t offset = 0);

// Every row of every sequence asks for the id that follows it; the last asks for nothing.
at::Tensor next_token_targets(const Stream& stream);

}  // namespace smidgen
