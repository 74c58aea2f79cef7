#include <cmath>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

constexpr int64_t kOut = 5, kIn = 7;
constexpr size_t kSamples = 40;

struct Layer {
  Values w, x, gram;
};

Layer layer(uint64_t seed) {
  Layer made{normal_values(kOut * kIn, seed), normal_values(kSamples * kIn, seed + 100), {}};
  made.gram.resize(kIn * kIn);
  for (size_t s = 0; s < kSamples; ++s) {
    for (int64_t i = 0; i < kIn; ++i) {
      for (int64_t j = 0; j < kIn; ++j)
        made.gram[i * kIn + j] += made.x[s * kIn + i] * made.x[s * kIn + j];
    }
  }
  return made;
}

MergeCase of(const std::vector<Layer>& layers, double alpha = 1) {
  MergeCase c{.method = "regmean", .shape = {kOut, kIn}, .shared = {{"alpha", alpha}}};
  for (const Layer& l : layers) {
    c.inputs.push_back(l.w);
    c.statistics.push_back({{kIn, kIn}, l.gram});
  }
  return c;
}

// sum over models and their inputs of |(W - W_i) x|^2.
double loss(const Values& w, const std::vector<Layer>& layers) {
  double sum = 0;
  for (const Layer& l : layers) {
    for (size_t s = 0; s < kSamples; ++s) {
      for (int64_t r = 0; r < kOut; ++r) {
        double y = 0;
        for (int64_t k = 0; k < kIn; ++k)
          y += (static_cast<double>(w[r * kIn + k]) - l.w[r * kIn + k]) * l.x[s * kIn + k];
        sum += y * y;
      }
    }
  }
  return sum;
}

// The definition: no step away from the result lowers what it minimises.
TEST(RegMean, IsTheLeastSquaresSolution) {
  const std::vector<Layer> layers = {layer(1), layer(2), layer(3)};
  const Values w = merged(of(layers));
  const double least = loss(w, layers);
  for (size_t k = 0; k < w.size(); ++k) {
    for (const float step : {1e-2f, -1e-2f}) {
      Values moved = w;
      moved[k] += step;
      EXPECT_GT(loss(moved, layers), least);
    }
  }
}

TEST(RegMean, WithoutOffDiagonalsEachInputCountsByItself) {
  const std::vector<Layer> layers = {layer(1), layer(2)};
  const Values w = merged(of(layers, 0));
  for (int64_t r = 0; r < kOut; ++r) {
    for (int64_t k = 0; k < kIn; ++k) {
      const double a = layers[0].gram[k * kIn + k], b = layers[1].gram[k * kIn + k];
      const double wanted = (a * layers[0].w[r * kIn + k] + b * layers[1].w[r * kIn + k]) / (a + b);
      EXPECT_NEAR(w[r * kIn + k], wanted, 1e-6);
    }
  }
}

TEST(RegMean, EqualLayersStay) {
  Layer a = layer(1), b = layer(2);
  b.w = a.w;
  EXPECT_LT(relative_difference(merged(of({a, b}, .9)), a.w), 1e-6);
}

TEST(RegMean, WithoutInputsItIsTheMean) {
  Layer a = layer(1), b = layer(2);
  Values mean(a.w.size());
  for (size_t k = 0; k < mean.size(); ++k) mean[k] = (a.w[k] + b.w[k]) / 2;
  MergeCase c = of({a, b});
  for (auto& s : c.statistics) s.first.clear();
  EXPECT_LT(relative_difference(merged(c), mean), 1e-6);
  a.gram.assign(a.gram.size(), 0);
  b.gram.assign(b.gram.size(), 0);
  EXPECT_LT(relative_difference(merged(of({a, b})), mean), 1e-6);
}

TEST(RegMean, ThreadsDoNotChangeBits) {
  const int64_t rows = 900, columns = 130;
  MergeCase c{.method = "regmean", .shape = {rows, columns}, .shared = {{"alpha", .9}}};
  for (const uint64_t seed : {1, 2}) {
    c.inputs.push_back(normal_values(rows * columns, seed));
    const Values x = normal_values(200 * columns, seed + 5);
    Values gram(columns * columns);
    for (int64_t s = 0; s < 200; ++s) {
      for (int64_t i = 0; i < columns; ++i) {
        for (int64_t j = 0; j < columns; ++j)
          gram[i * columns + j] += x[s * columns + i] * x[s * columns + j];
      }
    }
    c.statistics.push_back({{columns, columns}, gram});
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Values one = merged(c);
  at::set_num_threads(3);
  EXPECT_EQ(merged(c), one);
  EXPECT_EQ(at::get_num_threads(), 3);
  at::set_num_threads(threads);
}

TEST(RegMean, RefusesOtherSizes) {
  MergeCase c = of({layer(1), layer(2)});
  c.statistics[1].first = {kIn, kIn + 1};
  EXPECT_NE(error_of([&] { merged(c); }).find("7 inputs"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
