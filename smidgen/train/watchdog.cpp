#include "smidgen/train/watchdog.h"

#include <cmath>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {
constexpr size_t kWindow = 50, kUnjudged = 20;
}

void Watchdog::check(int64_t step, double loss, double grad_norm, const std::string& batch) {
  if (!std::isfinite(loss) || !std::isfinite(grad_norm)) {
    const double bad = std::isfinite(loss) ? grad_norm : loss;
    throw Error(ErrorKind::diverged,
                str("step ", step, ": the ", std::isfinite(loss) ? "gradient norm is " : "loss is ",
                    // The sign of a NaN says nothing.
                    std::isnan(bad) ? std::string("nan") : str(bad)),
                batch,
                "run again with --debug-nan, which names the module where it arises; a lower "
                "learning rate helps where the loss was rising");
  }
  if (limit_ > 0 && losses_.size() >= kUnjudged) {
    double mean = 0, square = 0;
    for (const double l : losses_) mean += l;
    mean /= static_cast<double>(losses_.size());
    for (const double l : losses_) square += (l - mean) * (l - mean);
    const double sd = std::sqrt(square / static_cast<double>(losses_.size() - 1));
    if (loss > mean + limit_ * sd) {
      throw Error(ErrorKind::diverged,
                  str("step ", step, ": the loss jumped to ", loss, ", more than ", limit_,
                      " standard deviations (", sd, ") above the mean of the last ", losses_.size(),
                      " steps (", mean, ")"),
                  batch, "look at these samples, lower the learning rate, or set --watchdog 0");
    }
  }
  losses_.push_back(loss);
  if (losses_.size() > kWindow) losses_.pop_front();
}

void Watchdog::restore(const Json& state) {
  losses_.clear();
  for (const Json& loss : state) losses_.push_back(loss.get<double>());
}

}  // namespace smidgen
