// How sure a difference between two models on the same samples is.
#pragma once

#include <cstdint>
#include <span>

#include "smidgen/eval/evaluate.h"

namespace smidgen {

struct Interval {
  double low = 0, high = 0;
};

// Paired percentile bootstrap of the mean per-sample difference (b - a) of the loss per answer
// token: samples are drawn with replacement `draws` times, the interval holds the middle 95 %
// (Efron 1979). Zero outside it: the change is real for this kind of sample. Throws mismatch when
// the two do not pair.
Interval paired_bootstrap(std::span<const SampleLoss> a, std::span<const SampleLoss> b,
                          uint64_t seed, int64_t draws = 10000);

}  // namespace smidgen
