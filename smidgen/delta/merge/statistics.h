// What a merge did to a tensor: lines of its card.
#pragma once

#include <span>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/merge/method.h"

namespace smidgen {

// Sums over elements; r is the base, or the first input where there is none, y the result.
class TensorStatistics {
 public:
  explicit TensorStatistics(size_t inputs);

  // Sums of one tile live in `sums`, size() of them.
  size_t size() const { return 3 + inputs_; }
  void observe(const Chunk& chunk, std::span<const float> result, std::span<double> sums) const;
  // {"norm": |y - r| (Frobenius), "moved": share of elements with y != r, "disputed": share on
  // which some inputs lie above r and others below, "inputs": |x_i - r|}. `sums` are [tiles,
  // size()].
  Json finish(std::span<const double> sums, int64_t elements) const;

 private:
  size_t inputs_;
};

}  // namespace smidgen
