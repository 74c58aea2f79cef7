#include "smidgen/nn/activations.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/op_checks_test.h"

namespace smidgen {
namespace {

constexpr Activation kAll[] = {Activation::silu, Activation::gelu, Activation::gelu_tanh,
                               Activation::relu};

TEST(Activations, FastEqualsReference) {
  for (const Activation f : kAll) {
    expect_same_op({normal({4, 17}) * 3}, [=](const Tensors& in) { return activate(f, in[0]); });
    expect_same_op({normal({4, 46}) * 3}, [=](const Tensors& in) {
      return gated(f, in[0].narrow(1, 0, 23), in[0].narrow(1, 23, 23));
    });
  }
}

TEST(Activations, ReferenceGradientsAreFiniteDifferences) {
  for (const Activation f : kAll) {
    expect_finite_differences({normal({3, 5})},
                              [=](const Tensors& in) { return activate_ref(f, in[0]); });
    expect_finite_differences({normal({3, 5}), normal({3, 5})},
                              [=](const Tensors& in) { return gated_ref(f, in[0], in[1]); });
  }
}

TEST(Activations, AtOneTheyAreWhatTheyAreDefinedAs) {
  const at::Tensor one = torch::ones({1, 1});
  const auto at_one = [&](Activation f) { return activate(f, one).item<double>(); };
  EXPECT_NEAR(at_one(Activation::silu), 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(at_one(Activation::gelu), 0.5 * (1 + std::erf(std::sqrt(0.5))), 1e-6);
  const double inner = std::sqrt(2 / 3.14159265358979) * (1 + 0.044715);
  EXPECT_NEAR(at_one(Activation::gelu_tanh), 0.5 * (1 + std::tanh(inner)), 1e-6);
  EXPECT_EQ(activate(Activation::relu, -one).item<double>(), 0);
}

TEST(Activations, Bf16ComesBackAsBf16) {
  const ScopedKernels fast(KernelsMode::fast);
  const at::Tensor x = normal({3, 8}).to(at::kBFloat16), up = normal({3, 8}).to(at::kBFloat16);
  for (const Activation f : kAll) {
    EXPECT_TRUE(torch::equal(activate(f, x), activate_ref(f, x)));
    EXPECT_EQ(gated(f, x, up).scalar_type(), at::kBFloat16);
  }
}

TEST(Activations, RefuseHalvesThatDoNotFit) {
  EXPECT_THROW(gated(Activation::gelu, normal({2, 4}), normal({2, 5})), Error);
}

}  // namespace
}  // namespace smidgen
