// The page of `smidgen compare --out`: tables, curves and heat maps of a comparison.
#pragma once

#include <string>

#include "smidgen/delta/subspace/compare_updates.h"

namespace smidgen {

std::string compare_page(const Comparison& comparison, const std::string& base);

}  // namespace smidgen
