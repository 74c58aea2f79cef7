// How long a step will take, from a few seconds of trying: the first blocks of the model run real
// passes over the step's own shapes, twice with different numbers of blocks, and the rest of the
// model is what the difference says.
//   pass(L)   = pass(a) + (L - a) (pass(b) - pass(a)) / (b - a)       update(L) likewise
// So the products' rates, attention, everything between them, and the output layer are what this
// machine makes of these shapes. Blocks that differ from each other (windows, experts) are judged
// by the first ones.
#pragma once

#include <optional>
#include <vector>

#include "smidgen/train/plan.h"

namespace smidgen {

struct StepTime {
  double pass = 0;    // seconds of a forward and backward pass over `tokens`
  double update = 0;  // seconds of clipping and the optimiser's step
  int64_t tokens = 0;
  bool cached = false;

  double step(const StepShape& shape) const {
    return pass * shape.tokens / static_cast<double>(tokens) + update;
  }
};

// Measures, or reads what was measured before on this machine with this build for the same
// configuration, method, formats and shape. `most_seconds` bounds the measuring, not the reading of
// the blocks. None where the first blocks alone cannot carry the method (its targets lie higher).
std::optional<StepTime> probe_step(const TuneConfig& config, const PlannedRun& run,
                                   const StepShape& shape, double most_seconds = 5);

}  // namespace smidgen
