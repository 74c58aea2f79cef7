// Products of fixed point with block formats: the kernel against its plain loops to the bit, and
// these against io's decoder in double.
#include "smidgen/kernels/block_product.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

constexpr Format kFormats[] = {Format::q4_0, Format::q4_1, Format::q8_0, Format::q4_k,
                               Format::q6_k};

std::vector<float> normal(int64_t n) {
  static uint64_t call = 0;
  const Rng rng(11, "block product tests", ++call);
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

// Rows of any bits, but for their halves, which are finite and of common size.
struct Matrix {
  int64_t row_bytes;
  std::vector<std::byte> bytes;
  std::vector<const std::byte*> rows;
  std::vector<Format> formats;

  Matrix(Format format, int64_t n, int64_t k) {
    const FormatInfo& type = info(format);
    row_bytes = k / type.elements * type.bytes;
    bytes.resize(static_cast<size_t>(n * row_bytes));
    static uint64_t call = 0;
    const Rng rng(13, "block bytes", ++call);
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(static_cast<int>(rng.uniform(i) * 256));
    for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(type.bytes)) {
      const size_t first = format == Format::q6_k ? 208 : 0,
                   halves = format == Format::q4_1 || format == Format::q4_k ? 2 : 1;
      for (size_t h = 0; h < halves; ++h) {
        const float size = static_cast<float>(0.01 + 0.02 * rng.uniform(bytes.size() + block + h));
        const uint16_t half = f32_to_f16((block / 7 + h) % 2 ? -size : size);
        std::memcpy(bytes.data() + block + first + 2 * h, &half, sizeof half);
      }
    }
    for (int64_t row = 0; row < n; ++row) rows.push_back(bytes.data() + row * row_bytes);
    formats.assign(static_cast<size_t>(n), format);
  }
  BlockRows view() const { return {rows, formats}; }
};

std::vector<float> reference(const FixedRows& a, const BlockRows& w) {
  std::vector<float> c(static_cast<size_t>(a.rows) * w.rows.size());
  multiply_blocks_ref(a, w, c.data(), static_cast<int64_t>(w.rows.size()));
  return c;
}

std::vector<float> product(const FixedRows& a, const BlockRows& w) {
  const auto n = static_cast<int64_t>(w.rows.size());
  std::vector<float> c(static_cast<size_t>(a.rows * n), -1e30f);
  multiply_blocks(a, w, [&](const ResultBlock& b) {
    for (int64_t r = 0; r < b.rows; ++r)
      std::copy_n(b.values + r * b.stride, b.columns, c.data() + (b.row0 + r) * n + b.column0);
  });
  return c;
}

class BlockProduct : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, BlockProduct, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

TEST_P(BlockProduct, IsThereWhereEightBitDotProductsAre) {
  for (const Format format : kFormats)
    EXPECT_EQ(has_block_product(format), GetParam() == "bf16" || GetParam() == "vnni");
  EXPECT_FALSE(has_block_product(Format::q5_1));
}

TEST_P(BlockProduct, FixedPointEqualsThePlainLoops) {
  std::vector<float> x = normal(3 * 256);
  x[5] = 1e-33f;                                    // a block that is all but zero
  for (size_t i = 32; i < 64; ++i) x[i] *= 1e-34f;  // one that is
  x[70] = std::numeric_limits<float>::infinity();
  x[100] = std::nanf("");
  x[130] = std::numeric_limits<float>::max();
  const FixedRows found = to_fixed(3, 256, x.data(), 256),
                  wanted = to_fixed_ref(3, 256, x.data(), 256);
  EXPECT_EQ(found.high, wanted.high);
  EXPECT_EQ(found.low, wanted.low);
  EXPECT_EQ(found.sums, wanted.sums);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t block = i / 32;
    const float scale = found.scales[block];
    if (block == 2 || block == 3) {
      EXPECT_TRUE(std::isnan(scale) && std::isnan(wanted.scales[block]));
      continue;
    }
    EXPECT_EQ(scale, wanted.scales[block]);
    EXPECT_EQ(scale == 0, block == 1);
    const double value = scale * (256.0 * found.high[i] + found.low[i]);
    EXPECT_LE(std::abs(value - x[i]), block == 1 ? 1e-30 : 0.5001 * scale) << i;
  }
  std::vector<Bf16> halves(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_float(halves[i] = to_bf16(x[i]));
  const FixedRows of_halves = to_fixed(3, 256, halves.data(), 256),
                  of_floats = to_fixed_ref(3, 256, x.data(), 256);
  EXPECT_EQ(of_halves.high, of_floats.high);
  EXPECT_EQ(of_halves.low, of_floats.low);
}

TEST_P(BlockProduct, EqualsThePlainLoopsToTheBit) {
  for (const Format format : kFormats) {
    if (!has_block_product(format)) continue;
    for (const int64_t n : {1, 15, 16, 50, 290}) {
      for (const int64_t m : {1, 3, 8}) {
        // Fewer blocks than a kernel takes at a time, and some more.
        for (const int64_t blocks : {3, 11}) {
          const int64_t k = info(format).elements == 256 ? 512 : 32 * blocks;
          const Matrix w(format, n, k);
          const std::vector<float> x = normal(m * k);
          const FixedRows a = to_fixed(m, k, x.data(), k);
          ASSERT_EQ(product(a, w.view()), reference(a, w.view()))
              << info(format).name << " " << n << " " << blocks;
        }
      }
    }
  }
}

// Rows of two files, of two formats, in another order than they lie in.
TEST_P(BlockProduct, TakesRowsFromAnywhere) {
  if (!has_block_product(Format::q4_0)) return;
  const Matrix one(Format::q4_0, 70, 64), other(Format::q8_0, 70, 64);
  std::vector<const std::byte*> rows;
  std::vector<Format> formats;
  for (size_t i = 0; i < 70; ++i) {
    rows.push_back(one.rows[i < 40 ? 2 * i % 41 : i]);
    formats.push_back(Format::q4_0);
  }
  for (size_t i = 0; i < 70; ++i) {
    rows.push_back(other.rows[69 - i]);
    formats.push_back(Format::q8_0);
  }
  const std::vector<float> x = normal(2 * 64);
  const FixedRows a = to_fixed(2, 64, x.data(), 64);
  EXPECT_EQ(product(a, {rows, formats}), reference(a, {rows, formats}));
}

TEST(BlockProductReference, IsTheProductOfTheDecodedValues) {
  for (const Format format : kFormats) {
    const int64_t n = 20, k = 512;
    const Matrix w(format, n, k);
    const std::vector<float> x = normal(2 * k);
    const FixedRows a = to_fixed_ref(2, k, x.data(), k);
    const std::vector<float> found = reference(a, w.view());
    std::vector<float> values(static_cast<size_t>(n * k));
    to_f32(format, w.bytes.data(), n * k, values.data());
    for (int64_t row = 0; row < 2; ++row) {
      for (int64_t column = 0; column < n; ++column) {
        double sum = 0, magnitude = 0, variance = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double term = static_cast<double>(x[static_cast<size_t>(row * k + i)]) *
                              values[static_cast<size_t>(column * k + i)];
          sum += term;
          magnitude += std::abs(term);
          // An element is off by up to half its block's scale, evenly spread.
          const double off =
              static_cast<double>(a.scales[static_cast<size_t>((row * k + i) / 32)]) *
              values[static_cast<size_t>(column * k + i)];
          variance += off * off / 12;
        }
        EXPECT_NEAR(found[static_cast<size_t>(row * n + column)], sum,
                    5 * std::sqrt(variance) + 1e-6 * magnitude)
            << info(format).name;
      }
    }
  }
}

// What meets a NaN is NaN, the other rows are as they were.
TEST_P(BlockProduct, ShowsNan) {
  if (!has_block_product(Format::q4_1)) return;
  const Matrix w(Format::q4_1, 16, 64);
  std::vector<float> x = normal(2 * 64);
  x[40] = std::nanf("");
  const FixedRows a = to_fixed(2, 64, x.data(), 64);
  const std::vector<float> found = product(a, w.view());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(std::isnan(found[i]), i < 16);
}

}  // namespace
}  // namespace smidgen
