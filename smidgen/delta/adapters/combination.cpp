#include "smidgen/delta/adapters/combination.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

using Over = Combination::Over;
using Rule = Combination::Rule;

constexpr Combination kTable[] = {
    {"cat", Over::stack, Rule::sum, "the weighted sum, exactly; ranks add up"},
    {"svd", Over::product, Rule::sum, "the best approximation of the weighted sum at a rank"},
    {"linear", Over::factors, Rule::sum, "sums of factors; not the weighted sum"},
    {"magnitude_prune", Over::factors, Rule::prune, "sums of each factor's largest elements"},
    {"magnitude_prune_svd", Over::product, Rule::prune,
     "the sum of each update's largest elements"},
    {"ties", Over::factors, Rule::ties, "TIES over the factors"},
    {"ties_svd", Over::product, Rule::ties, "TIES over the updates"},
    {"dare_linear", Over::factors, Rule::dare, "sums of factors with random elements dropped"},
    {"dare_linear_svd", Over::product, Rule::dare,
     "the sum of updates with random elements dropped"},
    {"dare_ties", Over::factors, Rule::dare_ties, "the same with TIES over the factors"},
    {"dare_ties_svd", Over::product, Rule::dare_ties, "the same with TIES over the updates"}};

constexpr int64_t kGrain = 1 << 14;

at::Tensor keep_largest(const at::Tensor& x, double density) {
  const int64_t n = x.numel();
  const auto kept = static_cast<int64_t>(density * static_cast<double>(n));
  if (kept >= n) return x;
  at::Tensor out = at::zeros_like(x);
  if (kept <= 0) return out;
  std::vector<float> magnitude(static_cast<size_t>(n));
  const float* in = x.const_data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) magnitude[static_cast<size_t>(i)] = std::abs(in[i]);
  std::nth_element(magnitude.begin(), magnitude.begin() + (kept - 1), magnitude.end(),
                   std::greater<>());
  const float least = magnitude[static_cast<size_t>(kept - 1)];
  int64_t above = 0;
  for (int64_t i = 0; i < n; ++i) above += std::abs(in[i]) > least;
  int64_t equal = kept - above;
  float* to = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) {
    const float m = std::abs(in[i]);
    if (m > least || (m == least && equal-- > 0)) to[i] = in[i];
  }
  return out;
}

at::Tensor drop_random(const at::Tensor& x, const MixSettings& settings, size_t input) {
  if (settings.density >= 1) return x;
  at::Tensor out = at::zeros_like(x);
  if (settings.density <= 0) return out;
  const Rng rng(settings.seed, "dare", input, settings.stream);
  const float* in = x.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (rng.uniform(static_cast<uint64_t>(i)) < settings.density)
        to[i] = static_cast<float>(in[i] / settings.density);
    }
  });
  return out;
}

// What the elements of one place become.
double place(const std::vector<const float*>& x, const std::vector<double>& w, int64_t i) {
  double sum = 0;
  for (size_t k = 0; k < x.size(); ++k) sum += w[k] * x[k][i];
  return sum;
}

double elected(const std::vector<const float*>& x, const std::vector<double>& w, int64_t i,
               bool by_count) {
  double vote = 0;
  for (const float* values : x) {
    const double v = values[i];
    vote += by_count ? (v > 0) - (v < 0) : v;
  }
  double sum = 0;
  int64_t agree = 0;
  for (size_t k = 0; k < x.size(); ++k) {
    const double v = x[k][i];
    if (v == 0 || (v > 0) != (vote >= 0)) continue;
    sum += w[k] * v;
    ++agree;
  }
  return sum / static_cast<double>(std::max<int64_t>(agree, 1));
}

}  // namespace

std::span<const Combination> combinations() {
  return kTable;
}

std::vector<std::string> combination_names() {
  std::vector<std::string> names;
  for (const Combination& c : kTable) names.emplace_back(c.name);
  return names;
}

const Combination& find_combination(const std::string& name) {
  for (const Combination& c : kTable) {
    if (c.name == name) return c;
  }
  throw Error(ErrorKind::usage, str("there is no combination '", name, "'"), "type",
              did_you_mean(name, combination_names(), str("one of ", join(combination_names()))));
}

at::Tensor mix(Rule rule, const std::vector<at::Tensor>& values, const std::vector<double>& weights,
               const MixSettings& settings) {
  SMIDGEN_ASSERT(!values.empty() && values.size() == weights.size());
  const bool random = rule == Rule::dare || rule == Rule::dare_ties;
  const bool elects = rule == Rule::ties || rule == Rule::dare_ties;
  std::vector<at::Tensor> kept;
  std::vector<const float*> x;
  for (size_t i = 0; i < values.size(); ++i) {
    const at::Tensor value = values[i].contiguous();
    SMIDGEN_ASSERT(value.scalar_type() == at::kFloat && value.sizes() == values[0].sizes());
    kept.push_back(random              ? drop_random(value, settings, i)
                   : rule == Rule::sum ? value
                                       : keep_largest(value, settings.density));
    x.push_back(kept.back().const_data_ptr<float>());
  }
  at::Tensor out = at::empty(values[0].sizes(), at::kFloat);
  float* to = out.mutable_data_ptr<float>();
  parallel_for(out.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      to[i] = static_cast<float>(elects ? elected(x, weights, i, settings.by_count)
                                        : place(x, weights, i));
    }
  });
  return out;
}

}  // namespace smidgen
