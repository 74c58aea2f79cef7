// What the op tests share: random inputs, comparison, gradients by finite differences.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/nn/ops.h"

namespace smidgen {

using Tensors = std::vector<at::Tensor>;
using Op = std::function<at::Tensor(const Tensors&)>;

// Fixed numbers per shape and call order within a test.
inline at::Tensor normal(at::IntArrayRef shape) {
  static uint64_t call = 0;
  const Rng rng(1, "op tests", ++call);
  at::Tensor x = torch::empty(shape);
  float* out = x.data_ptr<float>();
  for (int64_t i = 0; i < x.numel(); ++i)
    out[i] = static_cast<float>(rng.normal(static_cast<uint64_t>(i)));
  return x;
}

// Largest difference within `bound` of the largest magnitude.
inline void expect_close(const at::Tensor& found, const at::Tensor& wanted, double bound,
                         const std::string& what) {
  ASSERT_EQ(found.sizes(), wanted.sizes()) << what;
  const at::Tensor a = found.detach().to(at::kDouble), b = wanted.detach().to(at::kDouble);
  const double scale = b.numel() ? std::max(1e-30, b.abs().max().item<double>()) : 1;
  const double worst = b.numel() ? (a - b).abs().max().item<double>() / scale : 0;
  EXPECT_FALSE(std::isnan(worst)) << what;
  EXPECT_LE(worst, bound) << what;
}

// The value of the op, and the gradient of a random linear function of it with respect to every
// input. An undefined `direction` is drawn.
inline Tensors value_and_gradients(const Tensors& inputs, const Op& op, KernelsMode mode,
                                   at::Tensor* direction) {
  const ScopedKernels scoped(mode);
  Tensors leaves;
  for (const at::Tensor& x : inputs) leaves.push_back(x.detach().clone().requires_grad_(true));
  const at::Tensor y = op(leaves);
  if (!direction->defined()) *direction = normal(y.sizes());
  (y * direction->to(y.scalar_type())).sum().backward();
  Tensors results{y};
  for (const at::Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

inline void expect_all_close(const Tensors& found, const Tensors& wanted, double bound,
                             const std::string& what) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_GT(wanted[i].abs().max().item<double>(), 0) << "a zero proves nothing";
    expect_close(found[i], wanted[i], bound,
                 what + (i == 0 ? "value" : "gradient " + std::to_string(i - 1)));
  }
}

// The op under both kernels.
inline void expect_same_op(const Tensors& inputs, const Op& op, double bound = 1e-5) {
  at::Tensor direction;
  const Tensors wanted = value_and_gradients(inputs, op, KernelsMode::ref, &direction);
  expect_all_close(value_and_gradients(inputs, op, KernelsMode::fast, &direction), wanted, bound,
                   "");
}

// Each kernel in fp32 against the reference in fp64, for ops that keep the dtype of their inputs:
// where the two are compared with each other, nobody knows which is off.
inline void expect_near_fp64(const Tensors& inputs, const Op& op, double fast_bound,
                             double ref_bound) {
  at::Tensor direction;
  Tensors wide;
  for (const at::Tensor& x : inputs) wide.push_back(x.to(at::kDouble));
  const Tensors exact = value_and_gradients(wide, op, KernelsMode::ref, &direction);
  ASSERT_EQ(exact[0].scalar_type(), at::kDouble);
  expect_all_close(value_and_gradients(inputs, op, KernelsMode::fast, &direction), exact,
                   fast_bound, "fast, ");
  expect_all_close(value_and_gradients(inputs, op, KernelsMode::ref, &direction), exact, ref_bound,
                   "reference, ");
}

// Autograd of a reference against central differences in fp64.
inline void expect_finite_differences(const Tensors& inputs, const Op& op, double bound = 1e-6) {
  Tensors leaves;
  for (const at::Tensor& x : inputs) leaves.push_back(x.to(at::kDouble).requires_grad_(true));
  const at::Tensor y = op(leaves);
  ASSERT_EQ(y.scalar_type(), at::kDouble);
  const at::Tensor direction = normal(y.sizes()).to(at::kDouble);
  (y * direction).sum().backward();
  const at::NoGradGuard no_grad;
  // Thousands of tiny products: waking a second thread for each costs more than they do.
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  constexpr double kStep = 1e-5;
  for (at::Tensor& leaf : leaves) {
    at::Tensor numeric = torch::empty_like(leaf);
    double* value = leaf.data_ptr<double>();
    for (int64_t i = 0; i < leaf.numel(); ++i) {
      const double kept = value[i];
      value[i] = kept + kStep;
      const double above = (op(leaves) * direction).sum().item<double>();
      value[i] = kept - kStep;
      const double below = (op(leaves) * direction).sum().item<double>();
      value[i] = kept;
      numeric.data_ptr<double>()[i] = (above - below) / (2 * kStep);
    }
    expect_close(leaf.grad(), numeric, bound, "finite differences");
  }
  at::set_num_threads(threads);
}

}  // namespace smidgen
