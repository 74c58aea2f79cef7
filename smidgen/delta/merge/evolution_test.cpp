#include "smidgen/delta/merge/evolution.h"

#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"

namespace smidgen {
namespace {

using Vector = std::vector<double>;
using Function = std::function<double(const Vector&)>;

SearchBox box(size_t n, double low, double high, double start) {
  return {Vector(n, low), Vector(n, high), Vector(n, start)};
}

// The best value of `budget`.
double best(const SearchBox& box, const Function& f, int budget, uint64_t seed = 1,
            Vector* where = nullptr) {
  EvolutionSearch search(box, seed);
  double least = INFINITY;
  for (int i = 0; i < budget; ++i) {
    const Vector x = search.ask();
    for (size_t k = 0; k < x.size(); ++k) {
      EXPECT_GE(x[k], box.low[k]);
      EXPECT_LE(x[k], box.high[k]);
    }
    const double value = f(x);
    if (value < least && where) *where = x;
    least = std::min(least, value);
    search.tell(value);
  }
  return least;
}

double sphere(const Vector& x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i)
    sum += (x[i] - .1 * static_cast<double>(i)) * (x[i] - .1 * static_cast<double>(i));
  return sum;
}

// Along axes that are turned against the coordinates, and of very different lengths.
double ellipsoid(const Vector& x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double along = 0;
    for (size_t k = 0; k < x.size(); ++k)
      along += std::cos(M_PI * static_cast<double>(i) * (static_cast<double>(k) + .5) /
                        static_cast<double>(x.size())) *
               (x[k] - .3);
    sum +=
        std::pow(1e4, static_cast<double>(i) / static_cast<double>(x.size() - 1)) * along * along;
  }
  return sum;
}

TEST(Evolution, FindsTheLeastOfSimpleFunctions) {
  for (const size_t n : {1, 2, 5, 10}) {
    for (const uint64_t seed : {1, 2, 3})
      EXPECT_LT(best(box(n, -2, 3, 1.5), sphere, 150 * static_cast<int>(n) + 150, seed), 1e-6)
          << n << " numbers";
  }
}

// Without learning the axes this takes some hundred times as long.
TEST(Evolution, LearnsTheAxes) {
  EXPECT_LT(best(box(5, -2, 3, 1.5), ellipsoid, 4000), 1e-8);
}

TEST(Evolution, FindsALeastOnTheBorder) {
  Vector where;
  best(
      box(3, 0, 1, .5), [](const Vector& x) { return x[0] - x[1] + (x[2] - .4) * (x[2] - .4); },
      400, 1, &where);
  EXPECT_NEAR(where[0], 0, 1e-4);
  EXPECT_NEAR(where[1], 1, 1e-4);
  EXPECT_NEAR(where[2], .4, 1e-2);
}

TEST(Evolution, BeginsAtTheStartAndIsToldAgain) {
  EvolutionSearch first(box(4, 0, 2, .75), 9), other(box(4, 0, 2, .75), 10);
  EXPECT_EQ(first.ask(), Vector(4, .75));
  std::vector<double> told;
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(first.ask(), first.ask());
    told.push_back(sphere(first.ask()));
    first.tell(told.back());
    other.tell(sphere(other.ask()));
  }
  EXPECT_NE(first.ask(), other.ask());
  EvolutionSearch again(box(4, 0, 2, .75), 9);
  for (const double value : told) again.tell(value);
  EXPECT_EQ(again.ask(), first.ask());
  EXPECT_EQ(again.step(), first.step());
}

TEST(Evolution, WhatIsNoNumberIsWorst) {
  const auto holes = [](const Vector& x) {
    return x[0] < 0 ? std::numeric_limits<double>::quiet_NaN() : sphere(x);
  };
  EXPECT_LT(best(box(2, -2, 3, 1.5), holes, 400), 1e-4);
}

TEST(Evolution, EigenvectorsGiveTheMatrixBack) {
  const size_t n = 7;
  const Rng rng(3, "test");
  std::vector<Vector> matrix(n, Vector(n)), vectors;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) matrix[i][j] = matrix[j][i] = rng.normal(i * n + j);
  }
  Vector values;
  symmetric_eigen(matrix, vectors, values);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double sum = 0, product = 0;
      for (size_t k = 0; k < n; ++k) {
        sum += values[k] * vectors[k][i] * vectors[k][j];
        product += vectors[i][k] * vectors[j][k];
      }
      EXPECT_NEAR(sum, matrix[i][j], 1e-12);
      EXPECT_NEAR(product, i == j, 1e-12);
    }
  }
}

}  // namespace
}  // namespace smidgen
