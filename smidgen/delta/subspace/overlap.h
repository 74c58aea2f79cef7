// How much two updates of one tensor share of their output space: the mode subspace overlap of
// arXiv 2505.14185 (CERT-Lab/safety-subspaces, exp-3-update_spaces/update_spaces_functions.py).
//
//   MSO(D1, D2; eta) = ||Q1^T Q2||_F^2 / min(k1, k2)      in [0, 1], symmetric
//
// with Q_i the first k_i left singular vectors of D_i, k_i the least rank that holds the share eta
// of its energy. Of two independent random subspaces of R^m the expectation is max(k1, k2) / m:
// E||Q1^T Q2||_F^2 = k1 k2 / m.
#pragma once

#include <span>
#include <vector>

#include "smidgen/delta/subspace/left_basis.h"

namespace smidgen {

struct Overlap {
  double eta = 0;
  int64_t k1 = 0, k2 = 0;
  double value = 0;
  double random = 0;  // its expectation for independent random subspaces
};

// ||Q1^T Q2||_F^2 for the first k1 and k2 vectors, for all k1 and k2 at once: one product, then
// sums of its squares along both sides.
class OverlapTable {
 public:
  // Both have rank above 0 and equally many rows.
  OverlapTable(const LeftBasis& a, const LeftBasis& b);
  double shared(int64_t k1, int64_t k2) const;
  Overlap at(double eta) const;

 private:
  const LeftBasis& a_;
  const LeftBasis& b_;
  at::Tensor sums_;  // fp64 [p1, p2]
};

// 0.01, 0.1, 0.2 ... 0.9, 0.99: the reference's.
const std::vector<double>& standard_energies();

}  // namespace smidgen
