#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/golden_nf4.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

// matrix() of scripts/golden/nf4.py.
at::Tensor matrix(int64_t rows, int64_t columns) {
  at::Tensor w = at::empty({rows, columns}, at::kFloat);
  float* out = w.data_ptr<float>();
  uint64_t state = 1;
  for (int64_t i = 0; i < w.numel(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const int64_t size = i / 64 % 13 == 5 ? 0 : 1 + i / 64 % 7;
    out[i] = static_cast<float>((static_cast<int64_t>(state >> 48) - 32768) * size) / 0x1p18f;
  }
  return w;
}

std::shared_ptr<const BaseWeight> packed(const WeightSource& source,
                                         Arithmetic arithmetic = Arithmetic::fp32) {
  return find_weight_format("nf4").pack(source, arithmetic);
}

TEST(Nf4Format, EqualsBitsandbytesBitForBit) {
  for (const auto& golden : golden::kNf4) {
    const auto weight = packed(weight_source(matrix(golden.rows, golden.columns)));
    const at::Tensor values = weight->tile(0, golden.rows);
    const std::span found(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()));
    EXPECT_EQ(sha256(std::as_bytes(found)), golden.sha256)
        << golden.rows << " x " << golden.columns;
  }
}

TEST(Nf4Format, HoldsEveryLawOfAFormat) {
  torch::manual_seed(1);
  for (const int64_t columns : {2048, 2003}) {  // whole blocks in a row, and blocks across rows
    const at::Tensor w = torch::randn({600, columns});
    for (Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::bf16}) {
      const auto weight = packed(weight_source(w), arithmetic);
      EXPECT_EQ(weight->format(), "nf4");
      const at::Tensor values = weight->tile(0, 600);
      // The published error of normal weights in blocks of 64.
      EXPECT_NEAR(((values - w).norm() / w.norm()).item<double>(), 0.092, 0.001);
      check_products(*weight, values);
    }
  }
}

TEST(Nf4Format, ProductsEqualThoseOfTheRoundedValuesBitForBit) {
  for (const std::string& target : kernel_targets()) {
    force_kernel_target(target);
    for (const int64_t columns : {640, 333}) {
      const auto weight = packed(weight_source(torch::randn({150, columns})), Arithmetic::bf16);
      // Products with a unit matrix are the values.
      const at::Tensor rounded = weight->tile(0, 150).to(at::kBFloat16);
      EXPECT_TRUE(torch::equal(weight->matmul(torch::eye(columns)).t(), rounded)) << target;
      EXPECT_TRUE(torch::equal(weight->matmul_t(torch::eye(150)), rounded)) << target;
    }
  }
  force_kernel_target("");
}

TEST(Nf4Format, TakesFourBitsAndAnEighth) {
  const auto weight = packed(weight_source(torch::randn({256, 2048})));
  EXPECT_EQ(weight->bytes(), 256 * 2048 / 2 + 256 * 2048 / 64 + 4 * 256 * 2048 / 64 / 256);
}

// q, k and v are modules of their own in the reference, with means of their own.
TEST(Nf4Format, EachTensorOfAGroupStandsAlone) {
  const at::Tensor a = torch::randn({5, 70}), b = torch::randn({3, 70}) * 9;
  const auto weight = packed(concatenate_rows({weight_source(a), weight_source(b)}));
  const at::Tensor alone =
      torch::cat({packed(weight_source(a))->tile(0, 5), packed(weight_source(b))->tile(0, 3)});
  EXPECT_TRUE(torch::equal(weight->tile(0, 8), alone));
  EXPECT_FALSE(torch::equal(packed(weight_source(torch::cat({a, b})))->tile(0, 8), alone));
}

TEST(Nf4Format, ZerosStayZero) {
  const auto weight = packed(weight_source(torch::zeros({3, 100})));
  EXPECT_TRUE(torch::equal(weight->tile(0, 3), torch::zeros({3, 100})));
}

TEST(Nf4Format, RefusesWhatHasNoSize) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    at::Tensor w = torch::randn({4, 70});
    w[2][3] = bad;
    try {
      packed(weight_source(w, "layer.weight"));
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::data);
      EXPECT_EQ(e.where(), "layer.weight");
      EXPECT_NE(std::string(e.what()).find("row 2, column 3"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace smidgen
