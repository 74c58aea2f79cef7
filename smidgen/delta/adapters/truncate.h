// The best approximation of a matrix at a rank, and what it leaves out.
#pragma once

#include <ATen/core/Tensor.h>

#include "smidgen/nn/delta.h"

namespace smidgen {

// M [out, in] ~ U diag(s) V, all fp64: U [out, k] and V [k, in] orthonormal, s [k] falling and
// positive.
struct Decomposition {
  at::Tensor u, s, v;
  double norm2 = 0;  // |M|^2, Frobenius
  double left2 = 0;  // |M - U diag(s) V|^2

  // The same with fewer singular values.
  Decomposition first(int64_t rank) const;
};

// Of scale B A, never making it dense: QR of both factors, then the SVD of a core of rank x rank.
// At most `rank` singular values; those that are zero but for rounding are left out.
Decomposition decompose(const LowRankDelta& product, int64_t rank);

// Of a dense fp32 matrix. By the eigenvectors of its Gram matrix over the shorter side in fp64:
// from M V^T (or U^T M) itself come the singular values, so that small ones lose nothing, and at
// full rank M is reproduced to fp32. Where the shorter side is long and the rank small, by subspace
// iteration until what is missed moves by less than 1e-6 of itself from round to round.
Decomposition decompose(const at::Tensor& matrix, int64_t rank);

enum class ScaleOn { b, a, both };
// fp32 factors with scale 1: B = U S, A = V (b); B = U, A = S V (a); the root of S on both.
LowRankDelta factors(const Decomposition& parts, ScaleOn on);

}  // namespace smidgen
