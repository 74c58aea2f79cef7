// From scores of the next token to a token.
//
// The order is that of transformers' LogitsProcessorList (5.23.0, generation/utils.py,
// _get_logits_processor): repetition penalty, temperature, top-k, top-p, min-p; each sees what the
// ones before it left. Values equal the reference's for equal scores, except that sums run in
// double here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace smidgen {

struct SampleOptions {
  bool greedy = false;     // the highest score; a temperature of 0 means the same
  double temperature = 1;  // s / t
  int64_t top_k = 0;       // keep scores not below the k-th highest (ties stay); 0: all
  double top_p = 1;        // keep the fewest most likely tokens whose probabilities reach p
                           // (arXiv:1904.09751); 1: all
  double min_p = 0;        // keep p_i >= min_p * max p (arXiv:2407.01082); 0: all
  double repetition_penalty =
      1;  // s / r where s > 0, s * r where s < 0, for tokens seen before (arXiv:1909.05858)
  uint64_t seed = 0;
};

class Sampler {
 public:
  // Throws usage for a temperature below 0, a top_p outside (0, 1], a min_p outside [0, 1], a
  // penalty not above 0.
  explicit Sampler(const SampleOptions& options);

  // Probabilities after all steps, [vocabulary]; 0 for what was cut. Greedy: 1 for the highest
  // score (the lowest id among equals). `seen` holds the prompt and what was generated. Throws data
  // when a score is NaN or all are minus infinity.
  std::vector<double> probabilities(std::span<const float> scores,
                                    std::span<const int32_t> seen) const;

  // The draw is keyed by (seed, "sample", position, stream): it depends neither on the batch nor on
  // earlier draws.
  int32_t pick(std::span<const float> scores, std::span<const int32_t> seen, uint64_t position,
               uint64_t stream = 0) const;

  const SampleOptions& options() const { return options_; }

 private:
  bool greedy() const { return options_.greedy || options_.temperature == 0; }
  std::vector<double> penalised(std::span<const float> scores, std::span<const int32_t> seen) const;
  SampleOptions options_;
};

}  // namespace smidgen
