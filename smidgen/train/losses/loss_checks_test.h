// What the tests of several losses do.
#pragma once

#include <string>

namespace smidgen {

// Values, gradients and rewards of a loss of pairs equal trl's (golden_trl.h).
void check_pairs_against_trl(const std::string& loss);

// One step's value and gradient do not depend on how it is cut into micro-batches, and the gradient
// is the slope of the value (unless a part of it is held constant on purpose), on a tiny model with
// a LoRA that acts.
void check_on_a_model(const std::string& loss, const char* config, bool slope = true);

}  // namespace smidgen
