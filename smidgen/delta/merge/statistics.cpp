#include "smidgen/delta/merge/statistics.h"

#include <cmath>

namespace smidgen {

namespace {

constexpr int64_t kBlock = 256;  // elements that are added up in fp32

// Sum of f(k) over [0, n): fp32 inside of short blocks, fp64 over them.
template <class F>
double blocked(int64_t n, F&& f) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    float lanes[16] = {};
    int64_t k = begin;
    for (; k + 16 <= end; k += 16) {
      for (int lane = 0; lane < 16; ++lane) lanes[lane] += f(k + lane);
    }
    for (; k < end; ++k) lanes[0] += f(k);
    for (const float lane : lanes) sum += lane;
  }
  return sum;
}

}  // namespace

TensorStatistics::TensorStatistics(size_t inputs) : inputs_(inputs) {}

void TensorStatistics::observe(const Chunk& chunk, std::span<const float> result,
                               std::span<double> sums) const {
  const float* r = chunk.base ? chunk.base : chunk.inputs[0];
  const float* y = result.data();
  const int64_t n = chunk.count;
  sums[0] += blocked(n, [&](int64_t k) { return (y[k] - r[k]) * (y[k] - r[k]); });
  sums[1] += blocked(n, [&](int64_t k) { return y[k] != r[k] ? 1.0f : 0.0f; });
  std::vector<float> up(static_cast<size_t>(n)), down(static_cast<size_t>(n));
  for (size_t i = 0; i < inputs_; ++i) {
    const float* x = chunk.inputs[i];
    sums[3 + i] += blocked(n, [&](int64_t k) { return (x[k] - r[k]) * (x[k] - r[k]); });
    float* const above = up.data();
    float* const below = down.data();
    for (int64_t k = 0; k < n; ++k) {
      above[k] += x[k] > r[k] ? 1.0f : 0.0f;
      below[k] += x[k] < r[k] ? 1.0f : 0.0f;
    }
  }
  // Elements on which both signs occur.
  sums[2] += blocked(n, [&](int64_t k) { return up[k] * down[k] != 0 ? 1.0f : 0.0f; });
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
