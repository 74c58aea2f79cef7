#include "smidgen/delta/subspace/overlap.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

OverlapTable::OverlapTable(const LeftBasis& a, const LeftBasis& b) : a_(a), b_(b) {
  const torch::NoGradGuard no_grad;
  SMIDGEN_ASSERT(a.rank() > 0 && b.rank() > 0 && a.rows() == b.rows());
  const at::Tensor product = at::mm(a.vectors.t(), b.vectors);
  sums_ = product.square_().cumsum(0).cumsum(1).contiguous();
}

double OverlapTable::shared(int64_t k1, int64_t k2) const {
  SMIDGEN_ASSERT(k1 > 0 && k1 <= sums_.size(0) && k2 > 0 && k2 <= sums_.size(1));
  return sums_.const_data_ptr<double>()[(k1 - 1) * sums_.size(1) + k2 - 1];
}

Overlap OverlapTable::at(double eta) const {
  Overlap overlap{.eta = eta, .k1 = energy_rank(a_, eta), .k2 = energy_rank(b_, eta)};
  const auto most = static_cast<double>(std::max(overlap.k1, overlap.k2));
  const auto least = static_cast<double>(std::min(overlap.k1, overlap.k2));
  // Rounding may lift a whole overlap above 1.
  overlap.value = std::min(1.0, shared(overlap.k1, overlap.k2) / least);
  overlap.random = most / static_cast<double>(a_.rows());
  return overlap;
}

const std::vector<double>& standard_energies() {
  static const std::vector<double> energies = {0.01, 0.1, 0.2, 0.3, 0.4, 0.5,
                                               0.6,  0.7, 0.8, 0.9, 0.99};
  return energies;
}

}  // namespace smidgen
