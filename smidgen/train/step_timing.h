// A tuning step measured in place: random ids, a fresh adapter, everything else as in a run.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/train/config.h"

namespace smidgen {

// "2x512": sequences and their length. Throws usage.
std::pair<int64_t, int64_t> parse_batch(const std::string& text);

// A sequence of random ids for each length.
std::vector<std::vector<int32_t>> random_sequences(const std::vector<int64_t>& lengths,
                                                   int64_t vocabulary, uint64_t seed);

struct StepBench {
  // The sequences of each step; a shorter list starts again.
  std::vector<std::vector<std::vector<int32_t>>> batches;
  int64_t steps = 6, skip = 3;  // the first `skip` are not timed
  OptimizerConfig optimizer;
};

// Median, least and most seconds of a step, the least of its two parts (forward and backward pass;
// clipping with the optimiser's step), losses, and the most bytes of tensors that a step held
// beside those that outlive it (weights, parameters and their optimiser state).
struct StepTimes {
  double seconds = 0, least = 0, most = 0;
  double pass = 0, update = 0;
  int64_t activations = 0;
  std::vector<double> losses;
};
StepTimes time_steps(Model& model, Adapter& adapter, const StepBench& bench);

// The products with frozen weights of one step of n rows, both directions, at the rate at which
// this machine multiplies their shapes with nothing around them: seconds, and the flops.
struct ProductShape {
  int64_t out = 0, in = 0, count = 0;
  double flops = 0, bytes = 0,
         seconds = 0;  // of one, both directions; bytes: read and written once
};
struct ProductRate {
  double seconds = 0, flops = 0;
  std::vector<ProductShape> shapes;
  double per_second() const { return seconds > 0 ? flops / seconds : 0; }
};
ProductRate product_rate(const Model& model, int64_t rows);

// Bytes a second that a copy too large for any cache reads and writes.
double copy_rate();

// A large square product, for comparison: flops a second.
double square_rate(Arithmetic arithmetic);

}  // namespace smidgen
