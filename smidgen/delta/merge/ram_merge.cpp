#include "smidgen/delta/merge/ram_merge.h"

#include <algorithm>
#include <cmath>

namespace smidgen {

namespace {

constexpr int64_t kStretch = 512;

// How many of the models take part in each of `n` elements from `at` on.
void count(const Chunk& chunk, float epsilon, int64_t at, int64_t n, float* __restrict taking) {
  std::fill_n(taking, n, 0.0f);
  for (const float* delta : chunk.deltas) {
    const float* __restrict d = delta + at;
    for (int64_t k = 0; k < n; ++k) taking[k] += std::abs(d[k]) > epsilon ? 1.0f : 0.0f;
  }
}

}  // namespace

RamMerge::RamMerge(const MergeTask& task, std::optional<Boost> boost)
    : epsilon_(static_cast<float>(task.value("epsilon"))),
      boost_(boost),
      alone_(task.inputs, 1.0f) {}

std::optional<PassSize> RamMerge::pass_size(int pass) const {
  if (!boost_ || pass > 0) return std::nullopt;
  return PassSize{.counts = 2 * alone_.size()};
}

void RamMerge::reduce(int, const Chunk& chunk, const Partial& partial) const {
  float taking[kStretch];
  for (int64_t at = 0; at < chunk.count; at += kStretch) {
    const int64_t n = std::min(kStretch, chunk.count - at);
    count(chunk, epsilon_, at, n, taking);
    for (size_t i = 0; i < alone_.size(); ++i) {
      const float* __restrict d = chunk.deltas[i] + at;
      uint32_t all = 0, unique = 0;
      for (int64_t k = 0; k < n; ++k) {
        const uint32_t takes = std::abs(d[k]) > epsilon_;
        all += takes;
        unique += takes & static_cast<uint32_t>(taking[k] == 1.0f);
      }
      partial.counts[2 * i] += all - unique;
      partial.counts[2 * i + 1] += unique;
    }
  }
}

void RamMerge::finish(int, std::span<const double>, std::span<const uint64_t> counts) {
  for (size_t i = 0; i < alone_.size(); ++i) {
    const auto shared = static_cast<double>(counts[2 * i]);
    const auto unique = static_cast<double>(counts[2 * i + 1]);
    if (unique == 0) continue;  // nothing to boost
    const double ratio = std::min(std::max(shared / unique, 0.0), boost_->alpha);
    alone_[i] = static_cast<float>(1 + boost_->r * ratio);
  }
}

void RamMerge::emit(const Chunk& chunk, float* __restrict out) const {
  float taking[kStretch], sum[kStretch];
  for (int64_t at = 0; at < chunk.count; at += kStretch) {
    const int64_t n = std::min(kStretch, chunk.count - at);
    count(chunk, epsilon_, at, n, taking);
    std::fill_n(sum, n, 0.0f);
    for (size_t i = 0; i < alone_.size(); ++i) {
      const float* __restrict d = chunk.deltas[i] + at;
      const float alone = alone_[i];
      for (int64_t k = 0; k < n; ++k) {
        const float part = taking[k] == 1.0f ? d[k] * alone : d[k] / std::max(taking[k], 1.0f);
        sum[k] += std::abs(d[k]) > epsilon_ ? part : 0.0f;
      }
    }
    const float* __restrict base = chunk.base + at;
    for (int64_t k = 0; k < n; ++k) out[at + k] = base[k] + sum[k];
  }
}

}  // namespace smidgen
