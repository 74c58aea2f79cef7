#include "smidgen/nn/delta.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace smidgen {
namespace {

constexpr int64_t kOut = 7, kIn = 130;  // rows of three words, the last with two bits

TernaryDelta ternary(double scale) {
  const at::Tensor draw = torch::rand({kOut, kIn});
  TernaryDelta delta{torch::zeros({kOut, 3}, torch::kLong), torch::zeros({kOut, 3}, torch::kLong),
                     kIn, scale};
  for (int64_t i = 0; i < kOut; ++i) {
    for (int64_t j = 0; j < kIn; ++j) {
      const float x = draw[i][j].item<float>();
      if (x > 0.4f) continue;
      at::Tensor& mask = x < 0.2f ? delta.positive : delta.negative;
      mask.mutable_data_ptr<int64_t>()[i * 3 + j / 64] |=
          static_cast<int64_t>(uint64_t{1} << (j % 64));
    }
  }
  return delta;
}

std::vector<Delta> one_of_each() {
  torch::manual_seed(4);
  return {DenseDelta{torch::randn({kOut, kIn})},
          LowRankDelta{torch::randn({3, kIn}), torch::randn({kOut, 3}), 0.5},
          RowsDelta{torch::tensor({5, 1}, torch::kLong), torch::randn({2, kIn}), kOut},
          ternary(0.25),
          ternary(-2),
          LowRankDelta{torch::randn({2, kIn}), torch::randn({kOut, 2}), -1}};
}

at::Tensor dense(const Delta& delta) {
  return tile(delta, 0, rows(delta));
}

TEST(Delta, DotAndNormAreThoseOfTheDenseMatrix) {
  for (const Delta& x : one_of_each()) {
    EXPECT_EQ(rows(x), kOut);
    EXPECT_EQ(columns(x), kIn);
    EXPECT_NEAR(norm(x), dense(x).to(torch::kDouble).norm().item<double>(), 1e-5);
    EXPECT_NEAR(dot(x, x), norm(x) * norm(x), 1e-3);
    for (const Delta& y : one_of_each()) {
      const double expected = dense(x).to(torch::kDouble).mul(dense(y)).sum().item<double>();
      EXPECT_NEAR(dot(x, y), expected, 1e-5 * (1 + norm(x) * norm(y)));
    }
  }
}

TEST(Delta, NormOfNoNumbersIsNone) {
  LowRankDelta low{torch::randn({2, kIn}), torch::randn({kOut, 2})};
  low.b[3][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(norm(low)));
}

TEST(Delta, TilesOfTernary) {
  torch::manual_seed(6);
  const TernaryDelta delta = ternary(0.25);
  const at::Tensor whole = dense(Delta(delta));
  EXPECT_EQ(whole.abs().max().item<float>(), 0.25f);
  EXPECT_TRUE(at::equal(tile(Delta(delta), 2, 5), whole.narrow(0, 2, 3)));
  const at::Tensor base = torch::randn({3, kIn});
  at::Tensor sum = base.clone(), strided = torch::randn({kIn, 3}).t();
  const at::Tensor before = strided.clone();
  add_to(Delta(delta), 2, sum);
  EXPECT_TRUE(at::equal(sum, base + whole.narrow(0, 2, 3)));
  add_to(Delta(delta), 2, strided);
  EXPECT_TRUE(at::equal(strided, before + whole.narrow(0, 2, 3)));
}

// Few rows go by masked sums, in fours and alone, many by unfolded tiles.
TEST(Delta, ProductsWithTernary) {
  torch::manual_seed(7);
  const TernaryDelta delta = ternary(0.25);
  const at::Tensor whole = dense(Delta(delta));
  for (const int64_t n : {1, 3, 4, 7, 16, 17, 100}) {
    const at::Tensor x = torch::randn({n, kIn}), y = torch::randn({n, kOut});
    EXPECT_LT((times_transposed(x, delta) - at::linear(x, whole)).abs().max().item<float>(), 2e-5)
        << n;
    EXPECT_LT((times(y, delta) - at::matmul(y, whole)).abs().max().item<float>(), 2e-5) << n;
  }
  const at::Tensor index = torch::tensor({6, 0, 0, 3}, torch::kLong);
  EXPECT_TRUE(at::equal(gather_rows(delta, index), whole.index_select(0, index)));
}

TEST(Delta, CombineKeepsOneTernary) {
  const auto all = one_of_each();
  const Delta scaled = combine({all[3]}, {3.0});
  ASSERT_TRUE(std::holds_alternative<TernaryDelta>(scaled));
  EXPECT_TRUE(at::allclose(dense(scaled), dense(all[3]) * 3));
  EXPECT_TRUE(at::allclose(dense(combine({all[3], all[4]}, {2.0, -1.0})),
                           dense(all[3]) * 2 - dense(all[4])));
}

}  // namespace
}  // namespace smidgen
