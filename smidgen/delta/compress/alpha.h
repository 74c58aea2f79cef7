// The scale of a compressed update that some measure likes best.
#pragma once

#include <functional>
#include <vector>

#include "smidgen/delta/compress/compress.h"

namespace smidgen {

struct AlphaScore {
  double alpha = 0, score = 0;
};

// Tries each alpha on the same codes, sets the one with the lowest score (of equal ones the first)
// and returns all of them. A score that is no number loses against every other.
std::vector<AlphaScore> tune_alpha(Compressed& compressed, const std::vector<double>& grid,
                                   const std::function<double(const Compressed&)>& score);
// ComPEFT's: 0.5, 1, 2, 3, 4, 5, 6, 8, 10.
const std::vector<double>& alpha_grid();

}  // namespace smidgen
