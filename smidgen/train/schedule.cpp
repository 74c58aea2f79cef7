#include "smidgen/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace smidgen {

double schedule_ratio(const ScheduleConfig& c, int64_t step, int64_t total) {
  const auto warmup = static_cast<double>(std::min(c.warmup_steps, total));
  const auto t = static_cast<double>(step), end = static_cast<double>(total);
  if (t <= warmup) return t / warmup;
  const double f = c.final_ratio;
  const double u = (t - 1 - warmup) / std::max(1.0, end - warmup);
  if (c.schedule == "linear") return 1 - (1 - f) * u;
  if (c.schedule == "cosine") return f + (1 - f) * 0.5 * (1 + std::cos(std::numbers::pi * u));
  if (c.schedule == "wsd") {
    const auto decay = static_cast<double>(c.decay_steps.value_or((total + 9) / 10));
    const double begin = end - decay;
    return t <= begin ? 1 : 1 - (1 - f) * (t - begin) / (decay + 1);
  }
  return 1;
}

}  // namespace smidgen
