#include "smidgen/nn/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"

namespace smidgen {

namespace {

constexpr double kCut = -std::numeric_limits<double>::infinity();

int32_t highest(const std::vector<double>& s) {
  return static_cast<int32_t>(std::max_element(s.begin(), s.end()) - s.begin());
}

// The highest score where all are numbers and it is finite; nothing where something is amiss.
std::optional<int32_t> clear_highest(std::span<const float> s) {
  size_t best = 0;
  bool numbers = !s.empty();
  for (size_t i = 0; i < s.size(); ++i) {
    numbers &= s[i] == s[i];
    if (s[i] > s[best]) best = i;
  }
  if (!numbers || !std::isfinite(s[best])) return {};
  return static_cast<int32_t>(best);
}

std::vector<double> softmax(const std::vector<double>& s) {
  const double top = s[static_cast<size_t>(highest(s))];
  std::vector<double> p(s.size());
  double sum = 0;
  for (size_t i = 0; i < s.size(); ++i) sum += p[i] = std::exp(s[i] - top);
  for (double& x : p) x /= sum;
  return p;
}

void cut_top_k(std::vector<double>& s, int64_t k) {
  if (k <= 0 || k >= static_cast<int64_t>(s.size())) return;
  std::vector<double> sorted = s;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const double least = sorted[static_cast<size_t>(k - 1)];
  for (double& x : s) {
    if (x < least) x = kCut;
  }
}

// A token goes when it and all less likely ones together do not exceed 1 - p; the most likely one
// always stays.
void cut_top_p(std::vector<double>& s, double top_p) {
  if (top_p >= 1) return;
  const std::vector<double> p = softmax(s);
  std::vector<int32_t> order(s.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return p[static_cast<size_t>(a)] > p[static_cast<size_t>(b)];
  });
  double tail = 0;
  for (size_t i = order.size(); i-- > 1;) {
    tail += p[static_cast<size_t>(order[i])];
    if (tail > 1 - top_p) break;
    s[static_cast<size_t>(order[i])] = kCut;
  }
}

void cut_min_p(std::vector<double>& s, double min_p) {
  if (min_p <= 0) return;
  // p_i < m * max p, without the common divisor.
  const double top = s[static_cast<size_t>(highest(s))];
  for (double& x : s) {
    if (std::exp(x - top) < min_p) x = kCut;
  }
}

}  // namespace

Sampler::Sampler(const SampleOptions& options) : options_(options) {
  const auto demand = [](bool fine, const char* name, double value, const char* range) {
    if (!fine)
      throw Error(ErrorKind::usage, str(name, " is ", value, ", but must be ", range), name);
  };
  demand(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
         options.temperature, "0 or more");
  demand(options.top_k >= 0, "top_k", static_cast<double>(options.top_k), "0 or more");
  demand(options.top_p > 0 && options.top_p <= 1, "top_p", options.top_p, "above 0 and at most 1");
  demand(options.min_p >= 0 && options.min_p <= 1, "min_p", options.min_p, "between 0 and 1");
  demand(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
         "repetition_penalty", options.repetition_penalty, "above 0");
}

std::vector<double> Sampler::penalised(std::span<const float> scores,
                                       std::span<const int32_t> seen) const {
  SMIDGEN_ASSERT(!scores.empty());
  std::vector<double> s(scores.begin(), scores.end());
  if (std::any_of(s.begin(), s.end(), [](double x) { return std::isnan(x); })) {
    throw Error(ErrorKind::data, "the model's scores are not numbers (NaN)", "",
                "the weights or the adapter hold NaN or overflow");
  }
  if (options_.repetition_penalty != 1) {
    std::vector<bool> done(s.size());
    for (const int32_t id : seen) {
      if (id < 0 || static_cast<size_t>(id) >= s.size() || done[static_cast<size_t>(id)]) continue;
      done[static_cast<size_t>(id)] = true;
      double& x = s[static_cast<size_t>(id)];
      x = x < 0 ? x * options_.repetition_penalty : x / options_.repetition_penalty;
    }
  }
  if (!std::isfinite(s[static_cast<size_t>(highest(s))])) {
    throw Error(ErrorKind::data, "the model's highest score is infinite", "",
                "the weights or the adapter overflow");
  }
  return s;
}

std::vector<double> Sampler::probabilities(std::span<const float> scores,
                                           std::span<const int32_t> seen) const {
  std::vector<double> s = penalised(scores, seen);
  if (greedy()) {
    std::vector<double> p(s.size(), 0.0);
    p[static_cast<size_t>(highest(s))] = 1;
    return p;
  }
  for (double& x : s) x /= options_.temperature;
  cut_top_k(s, options_.top_k);
  cut_top_p(s, options_.top_p);
  cut_min_p(s, options_.min_p);
  return softmax(s);
}

int32_t Sampler::pick(std::span<const float> scores, std::span<const int32_t> seen,
                      uint64_t position, uint64_t stream) const {
  if (greedy() && options_.repetition_penalty == 1) {
    if (const auto id = clear_highest(scores)) return *id;
  }
  if (greedy()) return highest(penalised(scores, seen));
  const std::vector<double> p = probabilities(scores, seen);
  const double u = Rng(options_.seed, "sample", position).uniform(stream);
  double sum = 0;
  int32_t last = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) continue;
    last = static_cast<int32_t>(i);
    sum += p[i];
    if (u < sum) break;
  }
  return last;  // also where rounding left the sum a little under 1
}

}  // namespace smidgen
