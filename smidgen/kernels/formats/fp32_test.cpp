#include <gtest/gtest.h>

#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

TEST(Fp32Format, HoldsTheExactValues) {
  expect_weight_format("fp32", 0.0);
}

TEST(Fp32Format, FourBytesAWeight) {
  const WeightSource source{
      3, 5,
      [](int64_t row0, int64_t row1, float* out) { std::fill(out, out + (row1 - row0) * 5, 1.0f); },
      "w"};
  EXPECT_EQ(find_weight_format("fp32").pack(source, Arithmetic::bf16)->bytes(), 60u);
}

}  // namespace
}  // namespace smidgen
