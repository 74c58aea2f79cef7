// Products of 8-bit integers on every target this machine runs: equal to the portable kernels'
// bits, and to sums in double of what was quantised.
#include "smidgen/kernels/int8_product.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/kernels/block.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<int8_t>;

const Rng kRng(3, "int8 product tests", 0);

std::vector<Bf16> normal(int64_t n) {
  std::vector<Bf16> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(static_cast<float>(kRng.normal(i)));
  return x;
}

Bytes bytes(int64_t n) {
  Bytes w(static_cast<size_t>(n));
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<int8_t>(std::lrint(40 * kRng.normal(i + 7'000'000)) % 128);
  return w;
}

class Int8Products : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, Int8Products, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

struct Shape {
  int64_t m, k, n;
};
// Inner widths that are no whole groups, partial vectors and panels, more than one inner block,
// more rows than are multiplied together.
constexpr Shape kShapes[] = {{1, 1, 1},       {7, 33, 70},   {13, 2, 16},
                             {100, 579, 145}, {5, 4099, 48}, {1030, 2051, 20}};

Floats product(const Int8Rows& a, int64_t n, const PackInt8Panel& pack, const float* scales) {
  Floats y(static_cast<size_t>(a.m * n));
  multiply_int8(a, n, pack, scales, [&](const ResultBlock& b) {
    store_block(b.rows, b.columns, b.values, b.stride, y.data() + b.row0 * n + b.column0, n);
  });
  return y;
}

TEST_P(Int8Products, EqualTheIntegerSums) {
  for (const auto [m, k, n] : kShapes) {
    const auto x = normal(m * k);
    const Bytes w = bytes(k * n);
    Floats scales(static_cast<size_t>(n));
    for (size_t j = 0; j < scales.size(); ++j) scales[j] = 0.5f + 0.01f * static_cast<float>(j);
    const Int8Rows rows = to_int8_rows(m, k, x.data(), k);
    for (const bool transposed : {false, true}) {
      const Floats y =
          product(rows, n,
                  transposed ? int8_panels_of_transposed(w.data(), k) : int8_panels_of(w.data(), n),
                  scales.data());
      for (int64_t r = 0; r < m; r += 1 + m / 40) {
        for (int64_t j = 0; j < n; ++j) {
          int64_t sum = 0;
          for (int64_t i = 0; i < k; ++i)
            sum += int64_t{rows.values[static_cast<size_t>(r * rows.stride() + i)]} *
                   w[static_cast<size_t>(transposed ? j * k + i : i * n + j)];
          const float wanted = static_cast<float>(sum) * rows.scales[static_cast<size_t>(r)] *
                               scales[static_cast<size_t>(j)];
          ASSERT_EQ(y[static_cast<size_t>(r * n + j)], wanted) << r << " " << j << " of " << k;
        }
      }
    }
  }
}

TEST_P(Int8Products, RoundEachRowByItself) {
  const int64_t m = 9, k = 77;
  auto x = normal(m * k);
  for (int64_t i = 0; i < k; ++i) x[static_cast<size_t>(3 * k + i)] = to_bf16(0);
  x[static_cast<size_t>(5 * k + 76)] = to_bf16(std::numeric_limits<float>::infinity());
  x[static_cast<size_t>(6 * k)] = to_bf16(std::numeric_limits<float>::quiet_NaN());
  Floats factors(static_cast<size_t>(k));
  for (size_t i = 0; i < factors.size(); ++i) factors[i] = 1 + 0.1f * static_cast<float>(i);
  const Int8Rows rows = to_int8_rows(m, k, x.data(), k, factors.data());
  for (int64_t r = 0; r < m; ++r) {
    const float scale = rows.scales[static_cast<size_t>(r)];
    EXPECT_EQ(std::isnan(scale), r == 5 || r == 6) << r;
    EXPECT_EQ(scale == 0, r == 3);
    if (!(scale > 0)) continue;
    int32_t sum = 0, most = 0;
    for (int64_t i = 0; i < k; ++i) {
      const float value =
          to_float(x[static_cast<size_t>(r * k + i)]) * factors[static_cast<size_t>(i)];
      const int8_t q = rows.values[static_cast<size_t>(r * rows.stride() + i)];
      EXPECT_LE(std::fabs(value - scale * static_cast<float>(q)), 0.5001f * scale);
      sum += q;
      most = std::max(most, std::abs(int32_t{q}));
    }
    EXPECT_EQ(sum, rows.sums[static_cast<size_t>(r)]);
    EXPECT_EQ(most, 127);
    for (int64_t i = k; i < rows.stride(); ++i)
      EXPECT_EQ(rows.values[static_cast<size_t>(r * rows.stride() + i)], 0);
  }
  const Bytes w = bytes(k * 5);
  const Floats y = product(rows, 5, int8_panels_of(w.data(), 5), nullptr);
  for (int64_t j = 0; j < 5; ++j) {
    EXPECT_TRUE(std::isnan(y[static_cast<size_t>(5 * 5 + j)]));
    EXPECT_EQ(y[static_cast<size_t>(3 * 5 + j)], 0);
  }
}

TEST_P(Int8Products, RowsAreThePortableRows) {
  for (const int64_t k : {1, 15, 16, 63, 64, 1001}) {
    const auto x = normal(3 * k);
    const Int8Rows rows = to_int8_rows(3, k, x.data(), k);
    Bytes q(static_cast<size_t>(rows.stride()));
    float scale;
    int32_t sum;
    for (int64_t r = 0; r < 3; ++r) {
      int8_kernels_ref().quantise(k, x.data() + r * k, nullptr, q.data(), &scale, &sum);
      EXPECT_EQ(scale, rows.scales[static_cast<size_t>(r)]);
      EXPECT_TRUE(std::equal(q.begin(), q.end(), rows.values.begin() + r * rows.stride())) << k;
    }
  }
}

// The sums of 65,000 of the largest products are still 32 bits wide.
TEST_P(Int8Products, HoldTheLargestSums) {
  const int64_t k = kMostInt8Terms;
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<Bf16> x(static_cast<size_t>(k), to_bf16(sign));
    for (const int weight : {127, -128}) {
      const Bytes w(static_cast<size_t>(k), static_cast<int8_t>(weight));
      const Int8Rows rows = to_int8_rows(1, k, x.data(), k);
      const Floats y = product(rows, 1, int8_panels_of(w.data(), 1), nullptr);
      EXPECT_FLOAT_EQ(y[0], sign * static_cast<float>(weight) * static_cast<float>(k));
    }
  }
}

}  // namespace
}  // namespace smidgen
