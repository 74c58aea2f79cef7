#include "smidgen/train/losses/distill.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/methods/adapter.h"
#include "smidgen/nn/row_values.h"
#include "smidgen/nn/tiny_model.h"
#include "smidgen/train/losses/golden_trl.h"

namespace smidgen {
namespace {

at::Tensor logits(const std::vector<double>& values) {
  return torch::tensor(values, at::kDouble).view({4, 9});
}

TEST(Distill, DivergencesAndGradientsAreTheReferences) {
  for (const golden::JsdCase& c : golden::kJsdCases) {
    SCOPED_TRACE(c.divergence);
    const at::Tensor student = logits(golden::kStudent).requires_grad_();
    const at::Tensor mean =
        generalized_jsd(student, logits(golden::kTeacher), c.divergence, c.temperature).mean();
    EXPECT_NEAR(mean.item<double>(), c.value, 1e-12);
    mean.backward();
    EXPECT_LT((student.grad() - logits(c.by_student)).abs().max().item<double>(), 1e-12);
  }
}

TEST(Distill, NothingIsLostBetweenEqualModels) {
  const at::Tensor x = logits(golden::kStudent);
  for (const double divergence : {0.0, 0.4, 1.0})
    EXPECT_NEAR(generalized_jsd(x, x + 3, divergence, 1.7).abs().max().item<double>(), 0, 1e-12);
}

}  // namespace
}  // namespace smidgen
