// The optimiser kernels against torch::optim over several steps.
#include "smidgen/kernels/optimiser_steps.h"

#include <vector>

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace smidgen {
namespace {

constexpr int64_t kSize = 1003;

// Steps torch's optimiser and ours on the same gradients and compares the values.
template <class Optimiser, class Options, class Step>
void expect_follows(const Options& options, Step&& step) {
  torch::manual_seed(3);
  at::Tensor theirs = torch::randn({kSize}).requires_grad_(true);
  at::Tensor ours = theirs.detach().clone();
  Optimiser optimiser(std::vector<at::Tensor>{theirs}, options);
  for (int64_t count = 1; count <= 10; ++count) {
    const at::Tensor grad = torch::randn({kSize});
    theirs.mutable_grad() = grad.clone();
    optimiser.step();
    step(count, ours.data_ptr<float>(), grad.data_ptr<float>());
    const double worst = (ours - theirs.detach()).abs().max().template item<double>();
    EXPECT_LT(worst, 2e-7 * theirs.abs().max().template item<double>()) << "step " << count;
  }
}

TEST(OptimiserSteps, AdamwFollowsTorch) {
  std::vector<float> m(kSize), v(kSize);
  expect_follows<torch::optim::AdamW>(
      torch::optim::AdamWOptions(1e-2).betas({0.8, 0.95}).eps(1e-3).weight_decay(0.1),
      [&](int64_t count, float* value, const float* grad) {
        adamw_step({1e-2, 0.8, 0.95, 1e-3, 0.1, count}, kSize, value, grad, m.data(), v.data());
      });
}

TEST(OptimiserSteps, SgdFollowsTorch) {
  for (bool nesterov : {false, true}) {
    std::vector<float> buffer(kSize);
    expect_follows<torch::optim::SGD>(
        torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(0.01).nesterov(nesterov),
        [&](int64_t count, float* value, const float* grad) {
          sgd_step({0.1, 0.9, 0.01, nesterov, count == 1}, kSize, value, grad, buffer.data());
        });
  }
}

}  // namespace
}  // namespace smidgen
