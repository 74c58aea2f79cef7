// Orthonormal bases of what a change of weights writes into: the left singular vectors of a matrix
// D [m, n], by falling singular value.
//
// Only the left vectors are needed. A dense D goes through its Gram matrix in fp64 on the smaller
// side and a symmetric eigen-solver: D D^T = Q S^2 Q^T where m <= n, else D^T D = R S^2 R^T and Q =
// D R S^-1, made orthonormal again by a Cholesky factor. A low-rank D = s B A is never built: B =
// Q_B R_B, A^T = Q_A R_A, and Q_B times the left vectors of s R_B R_A^T is the basis, O((m + n)
// r^2).
//
// Source: arXiv 2505.14185 (CERT-Lab/safety-subspaces, exp-3-update_spaces), which takes a full
// SVD, or above 10 000 rows a randomised one of a quarter of the rank whose energy it then takes
// for the whole. Here every basis is complete and the energy is that of D itself.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/delta.h"

namespace smidgen {

struct LeftBasis {
  at::Tensor vectors;           // fp64 [m, p], orthonormal columns
  std::vector<double> squares;  // p squared singular values, falling
  double energy = 0;            // ||D||_F^2

  int64_t rows() const { return vectors.size(0); }
  // The directions that stand out of the rounding of fp64: of a matrix of zeros none.
  int64_t rank() const { return static_cast<int64_t>(squares.size()); }
};

// Throws data where a value is not finite. A vector is a matrix of one column; of a tensor with
// more dimensions the first is the rows.
LeftBasis left_basis(const Delta& delta);
// fp32 or fp64, of any number of dimensions.
LeftBasis left_basis(const at::Tensor& matrix);

// The least k with s_1^2 + ... + s_k^2 >= eta ||D||_F^2, for 0 < eta <= 1. What rounding leaves out
// of the sum (a part in 10^12) is not asked for.
int64_t energy_rank(const LeftBasis& basis, double eta);

// max(1, round(fraction min(m, n))), for 0 < fraction < 1.
int64_t fraction_rank(int64_t rows, int64_t columns, double fraction);

}  // namespace smidgen
