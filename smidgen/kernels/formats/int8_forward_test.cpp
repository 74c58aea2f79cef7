#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

// The gradient is that of the weights it holds, rounded only as bf16 is.
TEST(Int8ForwardFormat, TakesGradientsInBf16) {
  expect_weight_format("int8_forward", 1);
  const at::Tensor w = at::randn({96, 200}) * (at::arange(96) + 1).unsqueeze(1);
  const auto whole = find_weight_format("int8").pack(weight_source(w), Arithmetic::bf16);
  const auto weight = find_weight_format("int8_forward").pack(weight_source(w), Arithmetic::bf16);
  const at::Tensor x = at::randn({40, 200}).to(at::kBFloat16),
                   dy = at::randn({40, 96}).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(weight->matmul(x), whole->matmul(x)));
  const at::Tensor wanted = dy.to(at::kDouble).matmul(weight->tile(0, 96).to(at::kDouble));
  const at::Tensor found = weight->matmul_t(dy).to(at::kDouble);
  EXPECT_LT(((found - wanted).norm() / wanted.norm()).item<double>(), 5e-3);
}

}  // namespace
}  // namespace smidgen
