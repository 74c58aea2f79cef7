// The pages of `smidgen compare --out`: tables, curves and heat maps.
#pragma once

#include <string>

#include "smidgen/cli/core/compare_activations.h"
#include "smidgen/delta/subspace/compare_updates.h"

namespace smidgen {

std::string compare_page(const Comparison& comparison, const std::string& base);
std::string activation_page(const std::vector<ActivationComparison>& models);

}  // namespace smidgen
