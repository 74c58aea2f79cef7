// Which elements of a task vector are kept: the parts in which the methods of task_vectors.h
// differ.
#pragma once

#include <memory>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

// Of one tensor. Sees only inputs with 0 < density < 1: the others are kept or dropped whole.
class Sparsifier {
 public:
  virtual ~Sparsifier() = default;
  // As in TensorMerge.
  virtual std::optional<PassSize> pass_size(int pass) const;
  virtual void reduce(int pass, const Chunk& chunk, const Partial& partial) const;
  virtual void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts);
  virtual size_t cursors() const { return 0; }
  // Whether keep must be given whole chunks, else any consecutive pieces of them.
  virtual bool whole_chunks() const { return false; }
  // All bits set for each kept element of the input from element `at` of the chunk on, else none.
  virtual void keep(const Chunk& chunk, size_t input, int64_t at,
                    std::span<uint32_t> mask) const = 0;
};

inline bool thinned(const MergeTask& task, size_t input) {
  return task.value(input, "density") > 0 && task.value(input, "density") < 1;
}

// For n elements of an input with a density p, as mergekit 0.1.5 counts. Of equal magnitudes the
// lower index comes first.
// From the largest down the first max(1, floor(p n)).
std::unique_ptr<Sparsifier> keep_largest(const MergeTask& task);
// From the smallest up floor(p n), after the first n - floor(p n) - floor(gamma n) if that is not
// negative. Throws usage unless 0 <= gamma <= 1.
std::unique_ptr<Sparsifier> keep_below_outliers(const MergeTask& task);
// Each with probability p.
std::unique_ptr<Sparsifier> keep_at_random(const MergeTask& task);
// Each with probability p - epsilon + 2 epsilon r, r its rank by magnitude within its row from 0 to
// 1 (1/2 in a row of one). Throws usage unless 0 < p +- epsilon < 1, unsupported for rows above
// kLongRow.
std::unique_ptr<Sparsifier> keep_by_row_rank(const MergeTask& task);

}  // namespace smidgen
