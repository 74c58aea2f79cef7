// An update seen through the output directions of another one, the alignment update V = W_A - W_B:
// what of a fine-tune U = W_F - W_A lies inside them, and copies of it with only that or without it
// (arXiv 2505.14185, CERT-Lab/safety-subspaces, utils/post_processing_subspace*.py).
//
//   Q [m, k] orthonormal, k = max(1, round(fraction min(m, n)))
//     top       the first k left singular vectors of V
//     random_k  k of them drawn without replacement
//     random    k of a random orthonormal basis of R^m
//   U_par = Q Q^T U; P = U_par (same), U - U_par (orth), -U_par (opp); the new weight is W_A + P
//
// Only the output side is projected. Of U = s B A only B changes, so a projected LoRA is one. A
// vector is a matrix of one column, for which `top` is (<U,V> / <V,V>) V.
//
// Differs from the reference: a V of rank p < k gives p directions, where a full SVD would add
// arbitrary ones; `random` is drawn as the Q of a Gaussian matrix's QR, which has the distribution
// of the reference's singular vectors, keyed by (seed, tensor) and nested in k, so that every
// fraction sees the same draw; where V has no such tensor or is zero there U_par is zero for `top`
// and `random_k`; a fraction outside (0, 1), a projection onto the one direction V there, is
// refused.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/subspace/left_basis.h"
#include "smidgen/delta/subspace/update.h"

namespace smidgen {

enum class Directions { top, random_k, random };
enum class ProjectionMode { same, orth, opp };
std::string_view to_string(Directions directions);

struct Subspace {
  Directions directions = Directions::top;
  double fraction = 0.25;
  uint64_t seed = 0;
};

// Q, fp64 [m, k], for a tensor of that name with n columns.
at::Tensor directions(const LeftBasis& alignment, int64_t n, const Subspace& subspace,
                      const std::string& tensor);

// P. Sums in fp64, rounded once to fp32.
Delta project(const at::Tensor& q, const Delta& update, ProjectionMode mode);

// The update projected tensor by tensor as it is read. Throws mismatch where a tensor's shapes
// differ, usage for a fraction outside (0, 1).
std::shared_ptr<const Update> projected(std::shared_ptr<const Update> update,
                                        std::shared_ptr<const Update> alignment,
                                        const Subspace& subspace, ProjectionMode mode);

// What the projections keep, for every fraction and kind of directions at once: one basis a tensor.
// Ratios are of sums of squares over all tensors.
struct SweepRow {
  Subspace subspace;
  // ||U_par||^2 / (||U||^2 + 1e-12): the energy of `same` and `opp`. That of `orth` is ||U||^2's
  // rest. cos(U, P) is the root of the mode's energy, negative for `opp`.
  double parallel = 0;
  double expected = 0;  // of `parallel` for random directions: sum k / m ||U||^2 by tensor
  std::map<std::string, double> removed_by_block;  // ||U - U_par||^2
};
struct Sweep {
  double update = 0, alignment = 0;  // norms
  double cosine = 0;                 // of U and V
  std::vector<std::string> without_alignment;
  std::vector<SweepRow> rows;  // fractions within kinds of directions
  Json to_json() const;
};
Sweep sweep(const Update& update, const Update& alignment, const std::vector<double>& fractions,
            uint64_t seed = 0,
            const std::function<void(int64_t done, int64_t total)>& progress = {});

// 0.01, 0.25, 0.5, 0.75, 0.99: the reference's.
const std::vector<double>& standard_fractions();

}  // namespace smidgen
