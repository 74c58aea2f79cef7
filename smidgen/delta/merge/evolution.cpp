#include "smidgen/delta/merge/evolution.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"

namespace smidgen {

namespace {

using Vector = std::vector<double>;

std::vector<Vector> identity(size_t n) {
  std::vector<Vector> matrix(n, Vector(n));
  for (size_t i = 0; i < n; ++i) matrix[i][i] = 1;
  return matrix;
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

void symmetric_eigen(std::vector<Vector> a, std::vector<Vector>& vectors, Vector& values) {
  const size_t n = a.size();
  vectors = identity(n);
  constexpr int kSweeps = 60;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double off = 0, all = 0;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) (i == j ? all : off) += a[i][j] * a[i][j];
    }
    if (off <= 1e-30 * all) break;
    for (size_t p = 0; p < n; ++p) {
      for (size_t q = p + 1; q < n; ++q) {
        if (a[p][q] == 0) continue;
        const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::hypot(theta, 1));
        const double c = 1 / std::hypot(t, 1), s = t * c;
        for (size_t k = 0; k < n; ++k) {
          const double x = a[k][p], y = a[k][q];
          a[k][p] = c * x - s * y;
          a[k][q] = s * x + c * y;
        }
        for (size_t k = 0; k < n; ++k) {
          const double x = a[p][k], y = a[q][k];
          a[p][k] = c * x - s * y;
          a[q][k] = s * x + c * y;
          const double v = vectors[p][k], w = vectors[q][k];
          vectors[p][k] = c * v - s * w;
          vectors[q][k] = s * v + c * w;
        }
      }
    }
  }
  values.resize(n);
  for (size_t i = 0; i < n; ++i) values[i] = a[i][i];
}

EvolutionSearch::EvolutionSearch(SearchBox box, uint64_t seed)
    : box_(std::move(box)), seed_(seed), n_(box_.start.size()) {
  SMIDGEN_ASSERT(n_ > 0 && box_.low.size() == n_ && box_.high.size() == n_);
  population_ = 4 + static_cast<size_t>(3 * std::log(static_cast<double>(n_)));
  const size_t half = population_ / 2;
  double sum = 0, squares = 0;
  for (size_t i = 0; i < half; ++i) {
    shares_.push_back(std::log((static_cast<double>(population_) + 1) / 2) -
                      std::log(static_cast<double>(i + 1)));
    sum += shares_.back();
  }
  for (double& share : shares_) {
    share /= sum;
    squares += share * share;
  }
  mass_ = 1 / squares;
  for (size_t i = 0; i < n_; ++i) {
    SMIDGEN_ASSERT(box_.low[i] < box_.high[i]);
    mean_.push_back(
        std::clamp((box_.start[i] - box_.low[i]) / (box_.high[i] - box_.low[i]), 0., 1.));
  }
  path_ = step_path_ = Vector(n_);
  covariance_ = axes_ = identity(n_);
  lengths_ = Vector(n_, 1);
}

Vector EvolutionSearch::candidate(size_t number) const {
  const Rng rng(seed_, "coefficient search", generation_);
  Vector u = mean_;
  for (size_t axis = 0; axis < n_; ++axis) {
    const double z = rng.normal(number * n_ + axis) * lengths_[axis] * sigma_;
    for (size_t i = 0; i < n_; ++i) u[i] += z * axes_[axis][i];
  }
  for (double& x : u) x = std::clamp(x, 0., 1.);
  return u;
}

Vector EvolutionSearch::ask() const {
  if (told_ == 0) return box_.start;
  Vector x = candidate(seen_.size());
  for (size_t i = 0; i < n_; ++i) x[i] = box_.low[i] + x[i] * (box_.high[i] - box_.low[i]);
  return x;
}

void EvolutionSearch::tell(double value) {
  // The start only says where to begin: it is the mean already.
  if (told_++ == 0) return;
  Candidate seen{candidate(seen_.size()),
                 std::isfinite(value) ? value : std::numeric_limits<double>::infinity()};
  for (size_t i = 0; i < n_; ++i) seen.step[i] = (seen.step[i] - mean_[i]) / sigma_;
  seen_.push_back(std::move(seen));
  if (seen_.size() == population_) next_generation();
}

void EvolutionSearch::next_generation() {
  const auto n = static_cast<double>(n_);
  // The settings of the tutorial's table 1.
  const double step_rate = (mass_ + 2) / (n + mass_ + 5);
  const double damping = 1 + 2 * std::max(0., std::sqrt((mass_ - 1) / (n + 1)) - 1) + step_rate;
  const double path_rate = (4 + mass_ / n) / (n + 4 + 2 * mass_ / n);
  const double one_rate = 2 / ((n + 1.3) * (n + 1.3) + mass_);
  const double mu_rate =
      std::min(1 - one_rate, 2 * (mass_ - 2 + 1 / mass_) / ((n + 2) * (n + 2) + mass_));
  const double usual = std::sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));  // E |N(0, 1)|

  std::stable_sort(seen_.begin(), seen_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.value < b.value; });
  Vector step(n_);
  for (size_t k = 0; k < shares_.size(); ++k) {
    for (size_t i = 0; i < n_; ++i) step[i] += shares_[k] * seen_[k].step[i];
  }
  for (size_t i = 0; i < n_; ++i) mean_[i] += sigma_ * step[i];

  // C^(-1/2) step
  Vector white(n_);
  for (size_t axis = 0; axis < n_; ++axis) {
    const double along = dot(axes_[axis], step) / lengths_[axis];
    for (size_t i = 0; i < n_; ++i) white[i] += along * axes_[axis][i];
  }
  const double gain = std::sqrt(step_rate * (2 - step_rate) * mass_);
  for (size_t i = 0; i < n_; ++i) step_path_[i] = (1 - step_rate) * step_path_[i] + gain * white[i];
  const double length = std::sqrt(dot(step_path_, step_path_));
  ++generation_;
  const double settled = 1 - std::pow(1 - step_rate, 2. * static_cast<double>(generation_));
  const bool moves = length / std::sqrt(settled) < (1.4 + 2 / (n + 1)) * usual;
  const double pull = moves ? std::sqrt(path_rate * (2 - path_rate) * mass_) : 0;
  for (size_t i = 0; i < n_; ++i) path_[i] = (1 - path_rate) * path_[i] + pull * step[i];

  const double lost = moves ? 0 : path_rate * (2 - path_rate);
  for (size_t i = 0; i < n_; ++i) {
    for (size_t j = 0; j < n_; ++j) {
      double spread = 0;
      for (size_t k = 0; k < shares_.size(); ++k)
        spread += shares_[k] * seen_[k].step[i] * seen_[k].step[j];
      covariance_[i][j] = (1 - one_rate - mu_rate + one_rate * lost) * covariance_[i][j] +
                          one_rate * path_[i] * path_[j] + mu_rate * spread;
    }
  }
  sigma_ *= std::exp(std::min(1., step_rate / damping * (length / usual - 1)));
  sigma_ = std::min(sigma_, 1.);  // beyond that all candidates lie on the border
  symmetric_eigen(covariance_, axes_, lengths_);
  for (double& x : lengths_) x = std::sqrt(std::max(x, 1e-20));
  seen_.clear();
}

}  // namespace smidgen
