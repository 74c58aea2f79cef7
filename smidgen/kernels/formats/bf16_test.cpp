#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

TEST(Bf16Format, HoldsNearestValues) {
  expect_weight_format("bf16", 0x1p-8);
}

TEST(Bf16Format, RoundsAsTorchDoes) {
  const at::Tensor w = at::randn({33, 70});
  const auto weight = find_weight_format("bf16").pack(weight_source(w), Arithmetic::fp32);
  EXPECT_TRUE(at::equal(weight->tile(0, 33), w.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_EQ(weight->bytes(), 2u * 33 * 70);
}

}  // namespace
}  // namespace smidgen
