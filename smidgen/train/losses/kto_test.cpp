#include "smidgen/train/losses/kto.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/train/losses/golden_trl.h"
#include "smidgen/train/losses/loss_checks_test.h"

namespace smidgen {
namespace {

TEST(Kto, ValuesAndGradientsAreTheReferences) {
  const auto vector = [](const std::vector<double>& v) { return torch::tensor(v, at::kDouble); };
  int seen = 0;
  for (const golden::LossCase& c : golden::kLossCases) {
    if (c.loss != std::string("kto")) continue;
    SCOPED_TRACE(c.config);
    ++seen;
    const at::Tensor answers = vector(golden::kChosen).requires_grad_();
    const double kl = std::max(
        0.0, (vector(golden::kKlPolicy) - vector(golden::kKlReference)).mean().item<double>());
    const at::Tensor mean =
        kto_losses(answers - vector(golden::kReferenceChosen), vector(golden::kLabels).gt(0), kl,
                   read_config<KtoConfig>(Json::parse(c.config)))
            .mean();
    EXPECT_NEAR(mean.item<double>(), c.value, 1e-9);
    mean.backward();
    EXPECT_LT((answers.grad() - vector(c.by_chosen)).abs().max().item<double>(), 1e-9);
  }
  EXPECT_EQ(seen, 2);
}

TEST(Kto, OnAModel) {
  check_on_a_model("kto", R"({"beta": 0.5, "desirable_weight": 1.5})", /*slope=*/false);
}

}  // namespace
}  // namespace smidgen
