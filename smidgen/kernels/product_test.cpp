// The packed product, its blocks and the low-rank part, on every target this machine runs, against
// sums in double.
#include "smidgen/kernels/product.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/block.h"
#include "smidgen/kernels/low_rank.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

using Floats = std::vector<float>;
using Halves = std::vector<Bf16>;

Floats normal(int64_t n) {
  static uint64_t call = 0;
  const Rng rng(5, "product tests", ++call);
  Floats x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

Halves rounded(const Floats& x) {
  Halves out(x.size());
  std::transform(x.begin(), x.end(), out.begin(), to_bf16);
  return out;
}

// sum over i of a(row, i) b(i, column), and of the magnitudes: what rounding errors are relative
// to.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double a, double b) {
    value += a * b;
    magnitude += std::abs(a * b);
  }
};

// A sum of n fp32 terms in order is off by at most n half units, and in the mean by sqrt(n).
void expect_sum(float found, const Sum& wanted, int64_t terms, double relative = 0) {
  const double bound =
      wanted.magnitude * (4e-7 * std::sqrt(static_cast<double>(terms)) + relative) + 1e-30;
  EXPECT_NEAR(found, wanted.value, bound);
}

class Products : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, Products, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

struct Shape {
  int64_t m, k, n;
};
// Odd inner widths, partial vectors and panels, more than one inner block, more rows than are
// multiplied together.
constexpr Shape kShapes[] = {
    {1, 1, 1}, {7, 33, 70}, {13, 2, 16}, {130, 1030, 145}, {1030, 1027, 40}};

TEST_P(Products, OfBothOrientations) {
  for (const auto [m, k, n] : kShapes) {
    const Halves a = rounded(normal(m * k)), w = rounded(normal(k * n));
    for (const bool transposed : {false, true}) {
      Floats y(static_cast<size_t>(m * n));
      multiply_packed(m, k, n, a.data(), k,
                      transposed ? panels_of_transposed(w.data(), k) : panels_of(w.data(), n),
                      [&, width = n](const ResultBlock& b) {
                        store_block(b.rows, b.columns, b.values, b.stride,
                                    y.data() + b.row0 * width + b.column0, width);
                      });
      for (int64_t row = 0; row < m; row += 1 + m / 40) {
        for (int64_t column = 0; column < n; ++column) {
          Sum sum;
          for (int64_t i = 0; i < k; ++i) {
            const Bf16 b = transposed ? w[static_cast<size_t>(column * k + i)]
                                      : w[static_cast<size_t>(i * n + column)];
            sum.add(to_float(a[static_cast<size_t>(row * k + i)]), to_float(b));
          }
          expect_sum(y[static_cast<size_t>(row * n + column)], sum, k);
        }
      }
    }
  }
}

TEST_P(Products, OfARowDoNotDependOnOthers) {
  const int64_t m = 50, k = 1100, n = 90;
  const Halves a = rounded(normal(m * k)), w = rounded(normal(k * n));
  const auto product = [&](int64_t row, int64_t rows) {
    Floats y(static_cast<size_t>(rows * n));
    multiply_packed(
        rows, k, n, a.data() + row * k, k, panels_of(w.data(), n), [&](const ResultBlock& b) {
          store_block(b.rows, b.columns, b.values, b.stride, y.data() + b.row0 * n + b.column0, n);
        });
    return y;
  };
  const Floats all = product(0, m);
  for (const int64_t row : {0, 1, 6, 49}) {
    const Floats one = product(row, 1);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + row * n)) << row;
  }
}

TEST_P(Products, BlocksAreStored) {
  const int64_t rows = 3, columns = 37;
  const Floats block = normal(rows * 64), stream = normal(rows * columns);
  Halves rounded_once(static_cast<size_t>(rows * columns));
  Floats sum(rounded_once.size());
  store_block(rows, columns, block.data(), 64, rounded_once.data(), columns);
  add_block(rows, columns, block.data(), 64, 0.25f, stream.data(), columns, sum.data(), columns);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const float value = block[static_cast<size_t>(i * 64 + j)];
      const auto at = static_cast<size_t>(i * columns + j);
      EXPECT_EQ(rounded_once[at].bits, to_bf16(value).bits);
      EXPECT_FLOAT_EQ(sum[at], stream[at] + 0.25f * value);
    }
  }
}

template <class T>
void expect_low_rank(int64_t n, int64_t k, int64_t r, const std::vector<T>& x) {
  const Floats a = normal(r * k), seed = normal(n * k);
  Floats u(static_cast<size_t>(n * r)), u_t(u.size()), g(static_cast<size_t>(r * k)), y = seed;
  low_rank_down(n, k, r, 0.5f, x.data(), k, {a.data(), k, 1}, u.data(), r);
  // The same matrix by its transpose's memory.
  Floats a_t(a.size());
  for (int64_t j = 0; j < r; ++j)
    for (int64_t i = 0; i < k; ++i)
      a_t[static_cast<size_t>(i * r + j)] = a[static_cast<size_t>(j * k + i)];
  low_rank_down(n, k, r, 0.5f, x.data(), k, {a_t.data(), 1, r}, u_t.data(), r);
  EXPECT_EQ(u, u_t);
  low_rank_up(n, r, k, u.data(), r, a.data(), k, y.data(), k);
  low_rank_gradient(n, r, k, u.data(), r, x.data(), k, g.data(), k);
  // Two bf16 hold 16 bits or more of an element of A.
  const double halves = sizeof(T) == 2 ? 0x1p-17 : 0;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t j = 0; j < r; ++j) {
      Sum sum;
      for (int64_t i = 0; i < k; ++i)
        sum.add(to_float(x[static_cast<size_t>(row * k + i)]),
                0.5 * a[static_cast<size_t>(j * k + i)]);
      expect_sum(u[static_cast<size_t>(row * r + j)], sum, k, halves);
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t row = 0; row < n; row += 5) {
      Sum sum;
      sum.add(seed[static_cast<size_t>(row * k + i)], 1);
      for (int64_t j = 0; j < r; ++j)
        sum.add(u[static_cast<size_t>(row * r + j)], a[static_cast<size_t>(j * k + i)]);
      expect_sum(y[static_cast<size_t>(row * k + i)], sum, r + 1);
    }
    for (int64_t j = 0; j < r; ++j) {
      Sum sum;
      for (int64_t row = 0; row < n; ++row)
        sum.add(u[static_cast<size_t>(row * r + j)], to_float(x[static_cast<size_t>(row * k + i)]));
      expect_sum(g[static_cast<size_t>(j * k + i)], sum, n);
    }
  }
}

TEST_P(Products, LowRank) {
  for (const int64_t r : {1, 5, 8, 16, 33, 70}) {
    const int64_t n = 37, k = r == 5 ? 1100 : 83;
    const Floats x = normal(n * k);
    expect_low_rank(n, k, r, x);
    expect_low_rank(n, k, r, rounded(x));
  }
}

}  // namespace
}  // namespace smidgen
