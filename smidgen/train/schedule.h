// Learning rates over a run.
#pragma once

#include "smidgen/train/config.h"

namespace smidgen {

// Rate of step t in 1..total as a share of the peak. Warm-up: t / warmup. After it, with u = (t - 1
// - warmup) / (total - warmup), which runs from 0 to just under 1:
//   constant 1;  linear 1 - (1 - f) u;  cosine f + (1 - f) (1 + cos(pi u)) / 2;  wsd 1, then linear
//   over the last decay_steps
// where f = final_ratio. Linear and cosine are those of transformers' get_*_schedule_with_warmup at
// its step t - 1, but for the warm-up, which there begins with a step of rate 0.
double schedule_ratio(const ScheduleConfig& config, int64_t step, int64_t total);

}  // namespace smidgen
