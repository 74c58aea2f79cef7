// Stops a run that has gone wrong before it ruins its parameters.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "smidgen/base/json.h"

namespace smidgen {

class Watchdog {
 public:
  // `limit` standard deviations above the mean of the last 50 losses; 0 leaves only the check for
  // NaN and infinity.
  explicit Watchdog(double limit) : limit_(limit) {}

  // Called with a step's loss and gradient norm before the optimiser moves anything. Throws
  // diverged, naming the step and the samples of its batch. The first 20 losses are never judged by
  // the spread.
  void check(int64_t step, double loss, double grad_norm, const std::string& batch);

  Json state() const { return Json(std::vector<double>(losses_.begin(), losses_.end())); }
  void restore(const Json& state);

 private:
  double limit_;
  std::deque<double> losses_;
};

}  // namespace smidgen
