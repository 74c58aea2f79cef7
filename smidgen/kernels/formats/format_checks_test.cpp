#include "smidgen/kernels/formats/format_checks_test.h"

#include <atomic>
#include <numeric>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

constexpr int64_t kOut = 600,
                  kIn = 2000;  // two blocks of the default products: 2^20 / 2000 = 524 rows

at::Tensor normal(at::IntArrayRef shape) {
  return torch::randn(shape);
}

double worst(const at::Tensor& found, const at::Tensor& wanted) {
  EXPECT_EQ(found.sizes(), wanted.sizes());
  const at::Tensor a = found.to(at::kDouble), b = wanted.to(at::kDouble);
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

// Only what a format must write: everything else runs through it.
class TileOnly final : public BaseWeight {
 public:
  TileOnly(at::Tensor w, Arithmetic arithmetic)
      : BaseWeight(w.size(0), w.size(1), arithmetic), weights_(std::move(w)) {}
  std::string_view format() const override { return "tile only"; }
  size_t bytes() const override { return weights_.nbytes(); }

 protected:
  at::Tensor do_tile(int64_t row0, int64_t row1) const override {
    EXPECT_LT(row1 - row0, kOut) << "the whole matrix is never unpacked at once";
    return weights_.narrow(0, row0, row1 - row0).clone();
  }

 private:
  at::Tensor weights_;
};

TEST(BaseWeight, DefaultsThroughTheTile) {
  const at::Tensor w = normal({kOut, kIn});
  check_products(TileOnly(w, Arithmetic::fp32), w);
  check_products(TileOnly(w, Arithmetic::bf16), w);
}

TEST(WeightSource, PermutesAndConcatenates) {
  const at::Tensor a = normal({7, 4}), b = normal({5, 4});
  const std::vector<int64_t> order{6, 0, 1, 2, 5, 3, 4};
  const WeightSource source =
      concatenate_rows({permute_rows(weight_source(a), order), weight_source(b)});
  const at::Tensor wanted = torch::cat({a.index_select(0, torch::tensor(order)), b});
  ASSERT_EQ(source.rows, 12);
  for (int64_t begin = 0; begin < 12; ++begin) {
    for (int64_t end = begin; end <= 12; ++end) {
      at::Tensor out = torch::empty({end - begin, 4});
      source.read(begin, end, out.data_ptr<float>());
      EXPECT_TRUE(torch::equal(out, wanted.narrow(0, begin, end - begin))) << begin << " " << end;
    }
  }
}

TEST(WeightSource, RefusesWhatDoesNotFit) {
  EXPECT_THROW(concatenate_rows({weight_source(normal({2, 3})), weight_source(normal({2, 4}))}),
               Error);
  EXPECT_THROW(weight_source(normal({2, 3, 4})), Error);
  EXPECT_THROW(weight_source(normal({2})), Error);
  EXPECT_THROW(permute_rows(weight_source(normal({2, 3})), {0, 2}), Error);
  EXPECT_THROW(weight_source(TensorView{Format::f32, {4}, {}}), Error);
}

TEST(WeightSource, StoredBlocksAreDequantised) {
  // One block of q8_0 by hand: fp16 scale 0.5 (0x3800), then the numbers -16 .. 15.
  std::vector<std::byte> bytes(34);
  bytes[1] = std::byte{0x38};
  for (int i = 0; i < 32; ++i) bytes[static_cast<size_t>(2 + i)] = static_cast<std::byte>(i - 16);
  const TensorView view{Format::q8_0, {1, 32}, bytes};
  const auto weight = find_weight_format("fp32").pack(weight_source(view), Arithmetic::fp32);
  EXPECT_TRUE(torch::equal(weight->tile(0, 1)[0], (torch::arange(32) - 16) * 0.5));
}

TEST(WeightFormats, NamesAndAliases) {
  EXPECT_EQ(find_weight_format("bfloat16").name(), "bf16");
  EXPECT_EQ(find_weight_format("f32").name(), "fp32");
  EXPECT_THROW(find_weight_format("fp23"), Error);
  for (const auto& [name, format] : weight_formats().entries()) {
    EXPECT_EQ(format->name(), name);
    EXPECT_FALSE(format->summary().empty());
  }
}

}  // namespace

void check_products(const BaseWeight& weight, const at::Tensor& stored) {
  SCOPED_TRACE(testing::Message() << weight.format() << " in " << to_string(weight.arithmetic()));
  const int64_t in = weight.in_features();
  const bool bf16 = weight.arithmetic() == Arithmetic::bf16;
  const double bound = bf16 ? 2e-2 : 1e-5;
  const at::Tensor w = stored.to(at::kDouble);
  for (int64_t n : {1, 5}) {
    for (at::ScalarType given : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = normal({n, in}).to(given), dy = normal({n, kOut}).to(given);
      const at::Tensor y = weight.matmul(x), dx = weight.matmul_t(dy);
      EXPECT_EQ(y.scalar_type(), weight.dtype());
      EXPECT_EQ(dx.scalar_type(), weight.dtype());
      EXPECT_LT(worst(y, x.to(at::kDouble).matmul(w.t())), bound);
      EXPECT_LT(worst(dx, dy.to(at::kDouble).matmul(w)), bound);
      const at::Tensor part = weight.matmul_rows(x, 30, 570);
      EXPECT_LT(worst(part, x.to(at::kDouble).matmul(w.narrow(0, 30, 540).t())), bound);
      const at::Tensor back = weight.matmul_t_rows(dy.narrow(1, 0, 540), 30, 570);
      EXPECT_LT(worst(back, dy.narrow(1, 0, 540).to(at::kDouble).matmul(w.narrow(0, 30, 540))),
                bound);
    }
  }
  EXPECT_TRUE(torch::equal(weight.tile(7, 9), stored.narrow(0, 7, 2)));
  EXPECT_EQ(weight.tile(7, 7).size(0), 0);
  const at::Tensor ids = torch::tensor(std::vector<int64_t>{599, 0, 0, 44});
  EXPECT_TRUE(torch::equal(weight.rows(ids), stored.index_select(0, ids)));
  EXPECT_LT(worst(weight.row_norms(), w.square().sum(1).sqrt()), 1e-6);

  at::Tensor tile = weight.tile(0, 2);
  tile.zero_();
  EXPECT_TRUE(torch::equal(weight.tile(0, 2), stored.narrow(0, 0, 2))) << "a tile is a copy";

  EXPECT_THROW(weight.matmul(normal({2, in + 1})), Error);
  EXPECT_THROW(weight.matmul_t(normal({2, in})), Error);
  EXPECT_THROW(weight.matmul_rows(normal({2, in}), 5, kOut + 1), Error);
  EXPECT_THROW(weight.tile(-1, 2), Error);
  EXPECT_THROW(weight.rows(torch::tensor(std::vector<int64_t>{kOut})), Error);
  EXPECT_THROW(weight.rows(torch::tensor(std::vector<int64_t>{-1})), Error);
}

void expect_weight_format(const std::string& name, double relative, bool keeps_source) {
  torch::manual_seed(1);
  const at::Tensor w = normal({kOut, kIn});
  for (Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::bf16}) {
    WeightSource source = weight_source(w, "w");
    std::atomic<int64_t> rows_read = 0;
    source.read = [&, inner = source.read](int64_t row0, int64_t row1, float* out) {
      rows_read += row1 - row0;
      inner(row0, row1, out);
    };
    const auto weight = find_weight_format(name).pack(source, arithmetic);
    EXPECT_EQ(rows_read, keeps_source ? 0 : kOut) << "each row is read once";
    EXPECT_EQ(weight->format(), name);
    EXPECT_EQ(weight->out_features(), kOut);
    EXPECT_EQ(weight->in_features(), kIn);
    const at::Tensor stored = weight->tile(0, kOut);
    EXPECT_LE(((stored - w).abs() / w.abs()).max().item<double>(), relative);
    check_products(*weight, stored);
  }
}

}  // namespace smidgen
