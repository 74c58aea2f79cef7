// The divergence of distillation, for its test.
#pragma once

#include <ATen/core/Tensor.h>

namespace smidgen {

// Generalised Jensen-Shannon divergence of each row, fp32 or fp64 [k]: student and teacher logits
// [k, v] are divided by `temperature`; then with p the teacher, q the student, b = `divergence`
//   b = 0   KL(p || q)                       forward
//   b = 1   KL(q || p)                       reverse
//   else    b KL(p || m) + (1 - b) KL(q || m), m = b p + (1 - b) q
// Agarwal et al. 2024 (arXiv:2306.13649), as GKDTrainer.generalized_jsd_loss of trl 1.16. Nothing
// is multiplied by temperature^2.
at::Tensor generalized_jsd(const at::Tensor& student, const at::Tensor& teacher, double divergence,
                           double temperature);

}  // namespace smidgen
