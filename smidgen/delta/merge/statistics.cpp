#include "smidgen/delta/merge/statistics.h"

#include <algorithm>
#include <cmath>

#include "smidgen/kernels/plain_values.h"

namespace smidgen {

TensorStatistics::TensorStatistics(size_t inputs) : inputs_(inputs) {}

void TensorStatistics::observe(const Chunk& chunk, std::span<const float> result,
                               std::span<double> sums) const {
  const float* r = chunk.base ? chunk.base : chunk.inputs[0];
  const float* y = result.data();
  const int64_t n = chunk.count;
  sums[0] += squared_distance(n, y, r);
  sums[1] += static_cast<double>(count_different(n, y, r));
  sums[2] += static_cast<double>(count_disputed(n, chunk.inputs, r));
  for (size_t i = 0; i < inputs_; ++i) sums[3 + i] += squared_distance(n, chunk.inputs[i], r);
}

Json TensorStatistics::finish(std::span<const double> sums, int64_t elements) const {
  std::vector<double> total(size());
  for (size_t i = 0; i < sums.size(); ++i) total[i % size()] += sums[i];
  const double n = std::max<double>(1, static_cast<double>(elements));
  Json norms = Json::array();
  for (size_t i = 0; i < inputs_; ++i) norms.push_back(std::sqrt(total[3 + i]));
  return {{"norm", std::sqrt(total[0])},
          {"moved", total[1] / n},
          {"disputed", total[2] / n},
          {"inputs", norms}};
}

}  // namespace smidgen
