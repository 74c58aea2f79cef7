#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

TEST(Int8Format, HoldsEachRowByItsScale) {
  // A weight below half a step of its row is held as zero.
  expect_weight_format("int8", 1);
  const at::Tensor w = at::randn({33, 70}) * at::logspace(-8, 8, 33).unsqueeze(1);
  w[5].zero_();
  const auto weight = find_weight_format("int8").pack(weight_source(w), Arithmetic::fp32);
  EXPECT_EQ(weight->bytes(), 33u * 70 + 33 * 4);
  const at::Tensor scale = std::get<0>(w.abs().max(1, true)) / 127, held = weight->tile(0, 33);
  EXPECT_TRUE(((held - w).abs() <= scale * 0.50001).all().item<bool>());
  EXPECT_TRUE(at::equal(std::get<0>(held.abs().max(1, true)) > 0, scale > 0));
}

TEST(Int8Format, RefusesWhatItCannotHold) {
  at::Tensor w = at::zeros({3, 8});
  w[1][5] = std::numeric_limits<float>::quiet_NaN();
  const WeightSource source = weight_source(w, "a.weight");
  const std::string error =
      error_of([&] { find_weight_format("int8").pack(source, Arithmetic::bf16); });
  EXPECT_NE(error.find("nan at row 1, column 5"), std::string::npos) << error;
  EXPECT_NE(error.find("a.weight"), std::string::npos) << error;
  w.fill_(1e-38f);
  EXPECT_EQ(find_weight_format("int8")
                .pack(weight_source(w), Arithmetic::bf16)
                ->tile(0, 3)
                .abs()
                .max()
                .item<float>(),
            0);
}

// Products of integers, and those of the unpacked weights that stand in for them elsewhere.
TEST(Int8Format, ProductsRoundEachRowOnce) {
  const at::Tensor w = at::randn({96, 200}) * (at::arange(96) + 1).unsqueeze(1);
  const auto weight = find_weight_format("int8").pack(weight_source(w), Arithmetic::bf16);
  const at::Tensor x = at::randn({40, 200}).to(at::kBFloat16),
                   dy = at::randn({40, 96}).to(at::kBFloat16);
  const at::Tensor held = weight->tile(0, 96).to(at::kDouble);
  const auto error = [](const at::Tensor& found, const at::Tensor& wanted) {
    return ((found.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
  };
  for (const std::string& target : kernel_targets()) {
    force_kernel_target(target);
    // Rounding x to 1/127 of its largest of 200, some 3, is off by 3 / 127 / sqrt(12) of a normal.
    const double forward = error(weight->matmul(x), x.to(at::kDouble).matmul(held.t()));
    const double backward = error(weight->matmul_t(dy), dy.to(at::kDouble).matmul(held));
    if (uses_int8_products()) {
      EXPECT_NEAR(forward, 7e-3, 2e-3) << target;
      EXPECT_NEAR(backward, 8e-3, 3e-3) << target;
    } else {
      EXPECT_LT(std::max(forward, backward), 5e-3) << target;
    }
    EXPECT_TRUE(at::equal(weight->matmul(x).narrow(0, 3, 1), weight->matmul(x.narrow(0, 3, 1))) ||
                !uses_int8_products());
  }
  force_kernel_target("");
}

}  // namespace
}  // namespace smidgen
