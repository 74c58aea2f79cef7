// Blocks of a file as a base, and the plain formats.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/kernels/block_product.h"
#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/kernels/formats/unpack_row.h"
#include "smidgen/kernels/row_product.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

// Random blocks: scales are any halves, infinities and NaN among them.
std::vector<std::byte> noise(int64_t count, uint64_t stream = 0) {
  const Rng rng(9, "native test", stream);
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(rng.uniform(i) * 256);
  return bytes;
}

bool is_block(const FormatInfo& type) {
  return type.elements > 1 && type.readable;
}

class UnpackRow : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, UnpackRow, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

TEST_P(UnpackRow, EqualsTheDecoderBitForBit) {
  const int64_t columns = 1024;
  for (const FormatInfo& type : formats()) {
    if (!is_block(type) && type.format != Format::f16) continue;
    std::vector<std::byte> row = noise(columns / type.elements * type.bytes + 1);
    std::vector<float> decoded(columns), found(columns), ref(columns);
    const std::byte* at = row.data() + 1;  // rows need not be aligned
    to_f32(type.format, at, columns, decoded.data());
    std::vector<Bf16> halves(columns), halves_ref(columns);
    const std::pair<int64_t, int64_t> ranges[] = {{0, columns}, {64, 128},   {48, 112},
                                                  {3, 5},       {250, 1021}, {992, 1024}};
    for (const auto& [begin, end] : ranges) {
      unpack_row(type.format, at, begin, end, found.data());
      unpack_row_ref(type.format, at, begin, end, ref.data());
      unpack_row(type.format, at, begin, end, halves.data());
      unpack_row_ref(type.format, at, begin, end, halves_ref.data());
      for (int64_t i = begin; i < end; ++i) {
        const auto k = static_cast<size_t>(i - begin);
        const float wanted = decoded[static_cast<size_t>(i)];
        ASSERT_TRUE(same(found[k], wanted)) << type.name << " " << i;
        ASSERT_TRUE(same(ref[k], wanted)) << type.name << " " << i;
        ASSERT_EQ(halves[k].bits, to_bf16(wanted).bits) << type.name << " " << i;
        ASSERT_EQ(halves_ref[k].bits, to_bf16(wanted).bits) << type.name << " " << i;
      }
    }
  }
}

// Rows of `format` whose scales are of an ordinary size.
std::vector<std::byte> blocks(Format format, int64_t rows, int64_t columns) {
  const FormatInfo& type = info(format);
  std::vector<std::byte> bytes = noise(rows * columns / type.elements * type.bytes, 1);
  std::vector<int64_t> halves;
  switch (format) {
    case Format::q4_0:
    case Format::q5_0:
    case Format::q8_0:
      halves = {0};
      break;
    case Format::q2_k:
      halves = {80, 82};
      break;
    case Format::q3_k:
      halves = {108};
      break;
    case Format::q4_1:
    case Format::q5_1:
    case Format::q4_k:
    case Format::q5_k:
      halves = {0, 2};
      break;
    default:
      halves = {208};  // q6_k
  }
  for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(type.bytes)) {
    for (const int64_t at : halves) {
      const uint16_t half = f32_to_f16(0.001f * static_cast<float>(1 + block % 7));
      std::memcpy(bytes.data() + block + at, &half, sizeof half);
    }
  }
  return bytes;
}

constexpr Format kFast[] = {Format::q4_0, Format::q4_1, Format::q8_0, Format::q5_0, Format::q5_1,
                            Format::q2_k, Format::q3_k, Format::q4_k, Format::q5_k, Format::q6_k};

at::Tensor decoded(Format format, const std::vector<std::byte>& bytes, int64_t rows,
                   int64_t columns) {
  at::Tensor values = at::empty({rows, columns}, at::kFloat);
  to_f32(format, bytes.data(), rows * columns, values.data_ptr<float>());
  return values;
}

TEST(NativeFormat, BlocksKeepEveryLawOfAFormat) {
  for (const Format format : kFast) {
    const int64_t rows = 600, columns = 2048;
    const std::vector<std::byte> bytes = blocks(format, rows, columns);
    const WeightSource source = weight_source({format, {rows, columns}, bytes}, "w");
    const at::Tensor values = decoded(format, bytes, rows, columns);
    for (Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::bf16}) {
      const auto weight = find_weight_format("native").pack(source, arithmetic);
      EXPECT_EQ(weight->format(), info(format).name);
      EXPECT_EQ(weight->bytes(), bytes.size()) << "no copy beside the file's bytes";
      EXPECT_TRUE(torch::equal(weight->tile(0, rows), values));
      check_products(*weight, values);
    }
  }
}

// What training relies on: the same sums in the same order as over the unpacked matrix.
TEST(NativeFormat, ProductsEqualThoseOfTheUnpackedMatrixBitForBit) {
  if (!uses_bf16_products()) GTEST_SKIP() << "no dot products of bf16 here";
  const int64_t rows = 330, columns = 1280, n = 70;
  for (const Format format : kFast) {
    const std::vector<std::byte> bytes = blocks(format, rows, columns);
    const WeightSource source = weight_source({format, {rows, columns}, bytes}, "w");
    const auto packed = find_weight_format("native").pack(source, Arithmetic::bf16);
    const auto plain = find_weight_format("bf16").pack(source, Arithmetic::bf16);
    const auto product = [&](const BaseWeight& weight, bool transposed, const at::Tensor& x) {
      at::Tensor y = torch::zeros({n, transposed ? columns : rows});
      const auto put = [&](const ResultBlock& b) {
        for (int64_t r = 0; r < b.rows; ++r)
          std::copy_n(b.values + r * b.stride, b.columns,
                      y.data_ptr<float>() + (b.row0 + r) * y.size(1) + b.column0);
      };
      transposed ? weight.matmul_t_blocks(x, put) : weight.matmul_blocks(x, put);
      return y;
    };
    const at::Tensor x = torch::randn({n, columns}), dy = torch::randn({n, rows});
    EXPECT_TRUE(torch::equal(product(*packed, false, x), product(*plain, false, x)));
    EXPECT_TRUE(torch::equal(product(*packed, true, dy), product(*plain, true, dy)));
    EXPECT_TRUE(torch::equal(packed->matmul(x), product(*plain, false, x).to(at::kBFloat16)));
    EXPECT_TRUE(torch::equal(packed->matmul_t(dy), product(*plain, true, dy).to(at::kBFloat16)));
    for (const int64_t few : {1, 3, 16}) {
      EXPECT_TRUE(
          torch::equal(packed->matmul(x.narrow(0, 0, few)), packed->matmul(x).narrow(0, 0, few)))
          << few;
    }
    const at::Tensor part = packed->matmul_rows(x, 100, 230);
    EXPECT_TRUE(torch::equal(part, packed->matmul(x).narrow(1, 100, 130)));
  }
}

// Generation's product: of the weights as they are, not rounded to bf16, row by row.
TEST(NativeFormat, AFewRowsMeetTheExactWeights) {
  const int64_t rows = 70, columns = 512;
  for (const Format format : {Format::q4_1, Format::q6_k}) {
    if (!has_block_product(format)) GTEST_SKIP() << "no dot products of eight bits here";
    const std::vector<std::byte> bytes = blocks(format, rows, columns);
    const auto weight = find_weight_format("native").pack(
        weight_source({format, {rows, columns}, bytes}, "w"), Arithmetic::bf16);
    const auto product = [&](const at::Tensor& x) {
      at::Tensor y = torch::zeros({x.size(0), rows});
      weight->matmul_blocks(x, [&](const ResultBlock& b) {
        for (int64_t r = 0; r < b.rows; ++r)
          std::copy_n(b.values + r * b.stride, b.columns,
                      y.data_ptr<float>() + (b.row0 + r) * rows + b.column0);
      });
      return y;
    };
    const at::Tensor x = torch::randn({kFewRows, columns}).to(at::kBFloat16);
    const at::Tensor few = product(x),
                     exact =
                         torch::matmul(x.to(at::kDouble),
                                       decoded(format, bytes, rows, columns).to(at::kDouble).t());
    const auto off = [&](const at::Tensor& y) {
      return ((y - exact).abs().max() / exact.abs().max()).item<double>();
    };
    EXPECT_LT(off(few), 1e-4) << "rounding the weights would cost more";
    EXPECT_GT(off(product(torch::cat({x, x})).narrow(0, 0, kFewRows)), 1e-4);
    EXPECT_TRUE(torch::equal(product(x.narrow(0, 2, 1))[0], few[2]));
  }
}

TEST(NativeFormat, RowsMayBeMovedAndDifferInFormat) {
  const std::vector<std::byte> a = blocks(Format::q4_k, 8, 256), b = blocks(Format::q6_k, 4, 256);
  const std::vector<int64_t> order{6, 0, 2, 4, 1, 7, 3, 5};
  const WeightSource source =
      concatenate_rows({permute_rows(weight_source({Format::q4_k, {8, 256}, a}, "a"), order),
                        weight_source({Format::q6_k, {4, 256}, b}, "b")});
  const auto weight = find_weight_format("native").pack(source, Arithmetic::bf16);
  EXPECT_EQ(weight->format(), "q4_k+q6_k");
  EXPECT_EQ(weight->bytes(), a.size() + b.size());
  const at::Tensor wanted =
      torch::cat({decoded(Format::q4_k, a, 8, 256).index_select(0, torch::tensor(order)),
                  decoded(Format::q6_k, b, 4, 256)});
  EXPECT_TRUE(torch::equal(weight->tile(0, 12), wanted));
}

TEST(NativeFormat, PlainTensorsStayWhatTheyAre) {
  const at::Tensor w = torch::randn({4, 32});
  const at::Tensor rounded = w.to(at::kBFloat16), half = w.to(at::kHalf);
  const auto view = [](Format format, const at::Tensor& t) {
    return weight_source(
        {format, {4, 32}, {static_cast<const std::byte*>(t.data_ptr()), t.nbytes()}});
  };
  const auto format_of = [&](const WeightSource& source, Arithmetic arithmetic) {
    return std::string(find_weight_format("native").pack(source, arithmetic)->format());
  };
  const std::vector<std::byte> table = noise(4 * 18);
  const WeightSource iq4 = weight_source({Format::iq4_nl, {4, 32}, table});
  const WeightSource f32 = view(Format::f32, w), bf16 = view(Format::bf16, rounded),
                     f16 = view(Format::f16, half);
  for (Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::bf16}) {
    const std::string read = arithmetic == Arithmetic::bf16 ? "bf16" : "fp32";
    EXPECT_EQ(format_of(f32, arithmetic), "fp32");
    EXPECT_EQ(format_of(bf16, arithmetic), "bf16");
    EXPECT_EQ(format_of(f16, arithmetic), read);
    EXPECT_EQ(format_of(concatenate_rows({bf16, f32}), arithmetic), "fp32") << "holds both";
    EXPECT_EQ(format_of(concatenate_rows({bf16, f16}), arithmetic), read);
    EXPECT_EQ(format_of(iq4, arithmetic), read) << "would make every product wait";
  }
}

TEST(NativeFormat, WhatIsChangedIsHeldAsTheArithmeticReadsIt) {
  const std::vector<std::byte> bytes = blocks(Format::q4_0, 2, 32);
  const WeightSource source = weight_source({Format::q4_0, {2, 32}, bytes}, "w");
  EXPECT_EQ(find_weight_format("native").pack(source, Arithmetic::bf16)->changed_format(), "bf16");
  EXPECT_EQ(find_weight_format("native").pack(source, Arithmetic::fp32)->changed_format(), "fp32");
}

}  // namespace
}  // namespace smidgen
