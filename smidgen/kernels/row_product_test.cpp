#include "smidgen/kernels/row_product.h"

#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

std::vector<Bf16> normal(int64_t n) {
  static uint64_t call = 0;
  const Rng rng(7, "row product tests", ++call);
  std::vector<Bf16> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(static_cast<float>(rng.normal(i)));
  return x;
}

// The blocks of a product, put together; every element must come once.
class Result {
 public:
  Result(int64_t m, int64_t n) : n_(n), values_(static_cast<size_t>(m * n), -1e30f) {}
  FinishBlock finish() {
    return [this](const ResultBlock& b) {
      for (int64_t r = 0; r < b.rows; ++r) {
        for (int64_t c = 0; c < b.columns; ++c) {
          float& to = values_[static_cast<size_t>((b.row0 + r) * n_ + b.column0 + c)];
          once_ &= to == -1e30f;
          to = b.values[r * b.stride + c];
        }
      }
    };
  }
  const std::vector<float>& values() const {
    EXPECT_TRUE(once_);
    return values_;
  }

 private:
  int64_t n_;
  bool once_ = true;
  std::vector<float> values_;
};

class RowProduct : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, RowProduct, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

// product_test.cpp compares the packed product with sums in double.
TEST_P(RowProduct, EqualsThePackedProductToTheBit) {
  // Odd widths, one pair, more than an inner block of the packed product; one group of 16 columns,
  // less, more than a block that is handed out.
  for (const int64_t k : {1, 2, 31, 32, 45, 1031}) {
    for (const int64_t n : {1, 39, 290}) {
      for (const int64_t m : {1, 2, 7, 8}) {
        const int64_t lda = k + 3, ldw = k + 1;
        std::vector<Bf16> a = normal(m * lda), w = normal(n * ldw);
        // What lies between the rows is no part of them.
        for (int64_t r = 0; r < m; ++r) a[static_cast<size_t>(r * lda + k)] = Bf16{0x7fc0};
        for (int64_t c = 0; c < n; ++c) w[static_cast<size_t>(c * ldw + k)] = Bf16{0x7fc0};
        Result few(m, n), packed(m, n);
        multiply_few_rows(m, k, n, a.data(), lda, w.data(), ldw, few.finish());
        multiply_packed(m, k, n, a.data(), lda, panels_of_transposed(w.data(), ldw),
                        packed.finish());
        ASSERT_EQ(few.values(), packed.values()) << m << " rows, " << k << " by " << n;
      }
    }
  }
}

}  // namespace
}  // namespace smidgen
