// Parameter competition balancing (Du et al. 2024, arXiv:2410.02396), as duguodong7/pcb-merging
// (commit 5897888) computes it: every statistic is over the whole model.
//   T_i = theta_i - theta_0, |T_i| clamped to its w and 1 - w quantiles: A_i; C_i = sign(T_i) A_i
//   norm(x) = (x - min x) / (max x - min x), zero where all are equal
//   I_i = exp(n norm(A_i)^2), n models                                 competition inside of a task
//   J_i                                                                between tasks; see below
//   S_i = norm(max(beta_i, its 1 - density quantile)), beta_i = I_i J_i
//   theta = theta_0 + sum_i weight_i C_i S_i / max(sum_i S_i, 1e-12)
// The released scripts differ in w and J, and the paper differs from all of them:
//   pcb          w = 1e-4   J_i = tanh(T_i sum_j T_j)
//   pcb_vision   w = 1e-2   J_i = tanh(T_i sum_j N_j),  N = sign(T) norm(A)
//   pcb_es       w = 1e-2   J_i = sum_j tanh(N_i N_j)
// `paper` has softmaxes over the whole vector instead (pcb_paper.cpp). The reference divides 0 by 0
// where all magnitudes of a task are equal; here they count as zero.
#pragma once

#include <memory>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

enum class PcbVariant { script, vision, es };

std::unique_ptr<const MergeMethod> make_pcb(PcbVariant variant);

}  // namespace smidgen
