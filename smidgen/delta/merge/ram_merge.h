// Reinforced Agent Merging (arXiv:2601.13572): what `ram` and `ramplus_tl` share.
#pragma once

#include <vector>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

// With d_i the differences from the base, a model takes part in an element where |d_i| > epsilon;
//   theta = theta_0 + sum over those that take part of d_i / count,  where one alone does f_i d_i
// f_i is 1, or where a boost is given 1 + r clamp(shared_i / unique_i, 0, alpha), by the elements
// in which model i takes part with others and alone.
class RamMerge : public TensorMerge {
 public:
  struct Boost {
    double r = 0, alpha = 0;
  };
  explicit RamMerge(const MergeTask& task, std::optional<Boost> boost = std::nullopt);

  std::optional<PassSize> pass_size(int pass) const override;
  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override;
  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override;
  void emit(const Chunk& chunk, float* out) const override;

 private:
  float epsilon_;
  std::optional<Boost> boost_;
  std::vector<float> alone_;  // f_i
};

}  // namespace smidgen
