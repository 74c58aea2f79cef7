// Every op against its reference in value and gradient, and every reference against finite
// differences in fp64 or a closed form. The kernels' own tests cover the forced targets.
#include "smidgen/nn/ops.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/nn/attention.h"
#include "smidgen/nn/op_checks_test.h"

namespace smidgen {
namespace {

TEST(RmsNorm, FastEqualsReference) {
  for (int64_t d : {3, 7, 16, 100, 576}) {
    expect_same_op({normal({5, d}), normal({d})},
                   [](const Tensors& in) { return rms_norm(in[0], in[1], 1e-5); });
  }
}

TEST(RmsNorm, ReferenceGradientsAreFiniteDifferences) {
  expect_finite_differences({normal({3, 6}), normal({6})},
                            [](const Tensors& in) { return rms_norm_ref(in[0], in[1], 1e-2); });
}

TEST(RmsNorm, UnitRowsGiveTheWeight) {
  const at::Tensor weight = normal({8});
  const at::Tensor y = rms_norm(torch::full({2, 8}, -3.0), weight, 0.0);
  expect_close(y[0], -weight, 1e-6, "rms of a constant row is its size");
}

TEST(RmsNorm, Bf16OutputIsTheRoundedResult) {
  const at::Tensor x = normal({4, 33}), weight = normal({33});
  const ScopedKernels fast(KernelsMode::fast);
  const at::Tensor y = rms_norm(x, weight, 1e-5, at::kBFloat16);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(torch::equal(y, rms_norm(x, weight, 1e-5).to(at::kBFloat16)));
}

TEST(RmsNorm, RefusesAWeightOfAnotherWidth) {
  EXPECT_THROW(rms_norm(normal({2, 4}), normal({5}), 1e-5), Error);
}

TEST(LayerNorm, FastEqualsReference) {
  for (int64_t d : {3, 16, 100}) {
    expect_same_op({normal({5, d}) + 2, normal({d}), normal({d})},
                   [](const Tensors& in) { return layer_norm(in[0], in[1], in[2], 1e-3); });
  }
}

TEST(LayerNorm, ReferenceGradientsAreFiniteDifferences) {
  expect_finite_differences({normal({3, 6}), normal({6}), normal({6})}, [](const Tensors& in) {
    return layer_norm_ref(in[0], in[1], in[2], 1e-2);
  });
}

TEST(LayerNorm, AConstantRowGivesTheBias) {
  const at::Tensor bias = normal({8});
  expect_close(layer_norm(torch::full({2, 8}, 5.0), normal({8}), bias, 1e-5)[1], bias, 1e-6,
               "bias");
  EXPECT_THROW(layer_norm(normal({2, 4}), normal({4}), normal({5}), 1e-5), Error);
}

TEST(Swiglu, FastEqualsReference) {
  for (int64_t d : {1, 17, 100}) {
    expect_same_op({normal({4, d}) * 5, normal({4, d})},
                   [](const Tensors& in) { return swiglu(in[0], in[1]); });
  }
}

TEST(Swiglu, HalvesOfOneProduct) {
  expect_same_op({normal({4, 46})}, [](const Tensors& in) {
    return swiglu(in[0].narrow(1, 0, 23), in[0].narrow(1, 23, 23));
  });
}

TEST(Swiglu, ReferenceGradientsAreFiniteDifferences) {
  expect_finite_differences({normal({3, 5}), normal({3, 5})},
                            [](const Tensors& in) { return swiglu_ref(in[0], in[1]); });
}

TEST(Swiglu, FarFromZeroItIsTheIdentityOrNothing) {
  const ScopedKernels fast(KernelsMode::fast);
  const at::Tensor y = swiglu(torch::tensor({{300.0f, -300.0f, 0.0f}}), torch::ones({1, 3}));
  EXPECT_TRUE(torch::equal(y, torch::tensor({{300.0f, 0.0f, 0.0f}}))) << y;
}

RopeTable small_table(int64_t head_dim) {
  return rope_table(rope_frequencies(head_dim, 100.0), 50);
}

TEST(Rope, FastEqualsReference) {
  const at::Tensor positions = torch::tensor({0, 7, 49, 3}, at::kLong);
  for (int64_t c : {2, 10, 64}) {
    expect_same_op({normal({4, 3, c}), normal({4, 1, c})}, [&](const Tensors& in) {
      auto [q, k] = rope(in[0], in[1], small_table(c), positions);
      return torch::cat({q.flatten(), 2 * k.flatten()});
    });
  }
}

TEST(Rope, PartOfAHeadTurnsAndTheRestStays) {
  const at::Tensor positions = torch::tensor({0, 3, 7}, at::kLong);
  const RopeTable table = rope_table(rope_frequencies(4, 50), 8);
  const at::Tensor x = normal({3, 2, 10});
  expect_same_op({x, normal({3, 1, 10})}, [&](const Tensors& in) {
    const auto [q, k] = rope(in[0], in[1], table, positions);
    return torch::cat({q, k}, 1);
  });
  const at::Tensor y = rope(x, x, table, positions).first;
  const at::Tensor part = x.narrow(2, 0, 4).contiguous();
  EXPECT_TRUE(torch::equal(y.narrow(2, 4, 6), x.narrow(2, 4, 6)));
  expect_close(y.narrow(2, 0, 4), rope(part, part, table, positions).first, 1e-6, "the part alone");
}

TEST(Rope, ScoresDependOnDistanceOnly) {
  for (KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    const at::Tensor q = normal({1, 1, 16}).expand({2, 1, 16});
    const at::Tensor k = normal({1, 1, 16}).expand({2, 1, 16});
    auto [q_at, unused_k] = rope(q, k, small_table(16), torch::tensor({5, 35}, at::kLong));
    auto [unused_q, k_at] = rope(q, k, small_table(16), torch::tensor({2, 32}, at::kLong));
    const at::Tensor scores = (q_at * k_at).sum({1, 2});
    EXPECT_NEAR(scores[0].item<float>(), scores[1].item<float>(), 1e-4);
  }
}

TEST(Rope, FirstPairTurnsByThePosition) {
  const at::Tensor x = torch::tensor({{{1.0f, 0.0f, 0.0f, 0.0f}}});
  auto [q, k] = rope(x, x, small_table(4), torch::tensor({3}, at::kLong));
  expect_close(q[0][0], torch::tensor({std::cos(3.0f), 0.0f, std::sin(3.0f), 0.0f}), 1e-6,
               "closed form");
}

TEST(Rope, RefusesAPositionOutsideTheTable) {
  const at::Tensor x = normal({1, 1, 4});
  EXPECT_THROW(rope(x, x, small_table(4), torch::tensor({50}, at::kLong)), Error);
  EXPECT_THROW(rope(x, x, small_table(4), torch::tensor({-1}, at::kLong)), Error);
}

const at::Tensor& targets7() {
  static const at::Tensor targets =
      torch::tensor(std::vector<int64_t>{3, 0, kIgnoreTarget, 100, 9, 50, 1});
  return targets;
}

TEST(CrossEntropy, FastEqualsReference) {
  const at::Tensor weights = torch::tensor({1.0f, 0.5f, 1.0f, 2.0f, 0.0f, 1.0f, 1.0f});
  for (const at::Tensor& w : {at::Tensor(), weights}) {
    expect_same_op({normal({7, 101}) * 4},
                   [&](const Tensors& in) { return cross_entropy(in[0], targets7(), w); });
  }
}

TEST(CrossEntropy, IsTorchsSumReduction) {
  const at::Tensor logits = normal({7, 101}) * 4;
  const at::Tensor torchs = torch::nn::functional::cross_entropy(
      logits.to(at::kDouble), targets7(),
      torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
  for (KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    EXPECT_NEAR(cross_entropy(logits, targets7()).item<double>() / torchs.item<double>(), 1, 1e-6);
  }
}

TEST(CrossEntropy, ReferenceGradientsAreFiniteDifferences) {
  expect_finite_differences({normal({7, 101})},
                            [](const Tensors& in) { return cross_entropy_ref(in[0], targets7()); });
}

TEST(CrossEntropy, NanReachesTheLoss) {
  for (KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    at::Tensor logits = normal({7, 101});
    logits[1][77] = std::nan("");
    EXPECT_TRUE(cross_entropy(logits, targets7()).isnan().item<bool>());
  }
}

TEST(CrossEntropy, RefusesATargetOutsideTheVocabulary) {
  EXPECT_THROW(cross_entropy(normal({1, 5}), torch::tensor({5}, at::kLong)), Error);
  EXPECT_THROW(cross_entropy(normal({1, 5}), torch::tensor({-1}, at::kLong)), Error);
  EXPECT_THROW(cross_entropy(normal({1, 5}), torch::tensor({1, 2}, at::kLong)), Error);
}

TEST(LinearCrossEntropy, FrozenHeadFastEqualsReference) {
  const auto head =
      find_weight_format("fp32").pack(weight_source(normal({101, 12})), Arithmetic::fp32);
  const at::Tensor weights = torch::rand({7});
  expect_same_op({normal({7, 12})}, [&](const Tensors& in) {
    return linear_cross_entropy(in[0], *head, targets7(), weights);
  });
}

TEST(LinearCrossEntropy, TrainableHeadFastEqualsReference) {
  expect_same_op({normal({7, 12}), normal({101, 12})},
                 [](const Tensors& in) { return linear_cross_entropy(in[0], in[1], targets7()); });
}

TEST(LinearCrossEntropy, ManyBlocksOfRows) {
  // 2^24 / 20000 = 838 rows in a block, so 1000 rows with a target take two.
  at::Tensor targets = torch::randint(0, 20000, {1010}, at::kLong);
  targets.narrow(0, 500, 10).fill_(kIgnoreTarget);
  // Relative to the largest gradient, u = 2^-24. Taken apart against fp64, the rounding of the
  // logits moves the gradient of the hidden states by up to 9 u, the softmax by 2 u, and its
  // product with the output layer by 11 u: 1.3e-6 together, and the bound of the fast op is half as
  // much again. The reference is coarser: torch's log_softmax adds the exponentials in fp32, and
  // its probabilities of a row add up to 1 within 5e-6 only. The width must be 12 or more. Below,
  // torch's product of softmax and output layer, which both kernels call, adds its 20000 terms one
  // after the other: what is less than half a unit of the sum is lost, and at a width of 3 both
  // were off by 2e-5 to 7e-5, in the same places.
  expect_near_fp64(
      {normal({1010, 16}), normal({20000, 16})},
      [&](const Tensors& in) { return linear_cross_entropy(in[0], in[1], targets); }, 2e-6, 1e-5);
}

TEST(LinearCrossEntropy, ReferenceGradientsAreFiniteDifferences) {
  expect_finite_differences({normal({7, 3}), normal({101, 3})}, [](const Tensors& in) {
    return linear_cross_entropy_ref(in[0], in[1], targets7());
  });
}

TEST(LinearCrossEntropy, ShapedLogits) {
  const at::Tensor targets = torch::tensor({3, -100, 0, 6}, at::kLong);
  const LogitShape shape{.scale = 0.7, .softcap = 2};
  expect_same_op({normal({4, 5}) * 2, normal({7, 5})}, [&](const Tensors& in) {
    return linear_cross_entropy(in[0], in[1], targets, {}, Arithmetic::fp32, shape);
  });
  expect_finite_differences({normal({4, 5}), normal({7, 5})}, [&](const Tensors& in) {
    return linear_cross_entropy_ref(in[0], in[1], targets, {}, Arithmetic::fp32, shape);
  });
  const at::Tensor z = shape_logits(torch::full({1, 1}, 5.0), shape);
  EXPECT_NEAR(z.item<double>(), 2 * std::tanh(3.5 / 2), 1e-6);
}

TEST(LinearCrossEntropy, WithoutGradModeNothingIsRecorded) {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = normal({7, 3}).requires_grad_(true);
  EXPECT_FALSE(linear_cross_entropy(hidden, normal({101, 3}), targets7()).requires_grad());
}

TEST(LinearCrossEntropy, Bf16StaysNearFp32) {
  const ScopedKernels fast(KernelsMode::fast);
  const at::Tensor hidden = normal({7, 12}), head = normal({101, 12});
  const double exact = linear_cross_entropy(hidden, head, targets7()).item<double>();
  const double rounded =
      linear_cross_entropy(hidden, head, targets7(), {}, Arithmetic::bf16).item<double>();
  EXPECT_NEAR(rounded / exact, 1, 1e-2);
  EXPECT_NE(rounded, exact);
}

TEST(Embedding, FrozenAndTrainableAgree) {
  const at::Tensor table = normal({11, 5}), ids = torch::tensor({3, 0, 10, 3}, at::kLong);
  const auto base = find_weight_format("fp32").pack(weight_source(table), Arithmetic::fp32);
  EXPECT_TRUE(torch::equal(smidgen::embedding(*base, ids), smidgen::embedding(table, ids)));
  EXPECT_TRUE(torch::equal(smidgen::embedding(table, ids), table.index_select(0, ids)));
  EXPECT_THROW(smidgen::embedding(*base, torch::tensor({11}, at::kLong)), Error);
}

TEST(Kernels, ModeComesBack) {
  const KernelsMode before = kernels_mode();
  {
    const ScopedKernels scoped(KernelsMode::ref);
    EXPECT_EQ(kernels_mode(), KernelsMode::ref);
  }
  EXPECT_EQ(kernels_mode(), before);
}

}  // namespace
}  // namespace smidgen
