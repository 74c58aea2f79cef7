// Runs a merge method over tensors: cuts them into tiles and chunks, and calls its passes.
#pragma once

#include <functional>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

constexpr int64_t kTile = int64_t{1} << 20;   // elements: what partial sums belong to
constexpr int64_t kChunk = int64_t{1} << 14;  // elements that a method sees at a time

// How a tensor is cut: by its shape alone, so that results depend on neither threads nor memory.
// Tiles and chunks are whole rows, at least one; a row longer than kLongRow is cut.
struct Cut {
  int64_t elements = 0, tile = 0, chunk = 0;
  static Cut of(int64_t elements, int64_t columns);
  int64_t tiles() const;
};

// Where values come from and go to. Called from several threads, for whole rows.
struct TensorPorts {
  // Elements from `begin` on of input i, or of the base where i is task.inputs.
  std::function<void(size_t input, int64_t begin, std::span<float> out)> read;
  // What came of a chunk. Those of a tile come in order, on one thread.
  std::function<void(const Chunk& chunk, std::span<const float> values)> write;
};

struct TensorJob {
  const MergeTask* task = nullptr;
  TensorPorts ports;
};

// Reads every input once for each pass. Memory: for each thread a chunk of every input (twice with
// deltas) and of the result; beside it what the method's passes collect.
void merge_tensor(const MergeTraits& traits, TensorMerge& merge, const TensorJob& job);

// The passes of a method that looks at a whole model (MergeTraits::whole_model), over all tensors
// as if they were one; then emit_tensor for each. Chunk::tile counts through.
void reduce_model(const MergeTraits& traits, TensorMerge& merge, std::span<const TensorJob> jobs);
void emit_tensor(const MergeTraits& traits, const TensorMerge& merge, const TensorJob& job,
                 int64_t first_tile = 0);

}  // namespace smidgen
