#include "smidgen/delta/compress/alpha.h"

#include <cmath>

namespace smidgen {

const std::vector<double>& alpha_grid() {
  static const std::vector<double> grid = {0.5, 1, 2, 3, 4, 5, 6, 8, 10};
  return grid;
}

std::vector<AlphaScore> tune_alpha(Compressed& compressed, const std::vector<double>& grid,
                                   const std::function<double(const Compressed&)>& score) {
  SMIDGEN_ASSERT(!grid.empty());
  std::vector<AlphaScore> all;
  size_t best = 0;
  for (const double alpha : grid) {
    set_alpha(compressed, alpha);
    all.push_back({alpha, score(compressed)});
    const double least = all[best].score;
    if (all.back().score < least || std::isnan(least)) best = all.size() - 1;
  }
  set_alpha(compressed, all[best].alpha);
  return all;
}

}  // namespace smidgen
