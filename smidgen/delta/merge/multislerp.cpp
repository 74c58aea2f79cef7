// Weighted mean on the sphere, in the tangent space of the normalised mean. For models v_i, or
// their differences from a base that is added to the result, with norms n_i:
//   u_i = v_i / (n_i + eps),  m = sum_i w_i u_i / |sum_i w_i u_i|
//   h = sum_i w_i (u_i - (u_i . m) m),  a = |h| + eps
//   result = (cos(a) m + sin(a)/a h) sum_i w_i n_i
// with w_i divided by their sum under `normalize_weights`. One model is returned as it is. Two
// models whose mean is shorter than eps (opposite ones) give sum_i w_i v_i; more are refused.
// As mergekit 0.1.5. Differs: weights that sum to zero under `normalize_weights` are refused,
// where mergekit writes NaN; a tensor that no model has moved from the base stays, where mergekit
// refuses it.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/gram.h"

namespace smidgen {

namespace {

struct Multislerp {
  std::string tensor;
  std::vector<double> w;
  double eps = 0;

  void operator()(const Gram& gram, std::span<double> weights) const;
};

void Multislerp::operator()(const Gram& gram, std::span<double> weights) const {
  const size_t n = gram.size();
  std::copy(w.begin(), w.end(), weights.begin());
  if (n == 1) {
    weights[0] = 1;
    return;
  }
  // Directions as sums of the vectors: unit[i] v_i is u_i.
  std::vector<double> unit(n), mean(n), tangent(n);
  double length = 0, size = 0;
  for (size_t i = 0; i < n; ++i) {
    const double norm = gram.norm(i);
    unit[i] = norm + eps > 0 ? 1 / (norm + eps) : 0;
    mean[i] = w[i] * unit[i];
    length += w[i] * norm;
    size += norm;
  }
  const double of_mean = gram.norm(mean);
  if (of_mean < eps) {
    if (n == 2 || size == 0) return;
    throw Error(ErrorKind::usage, "the weighted directions of the models cancel out", tensor,
                "other weights, or another merge method for this tensor");
  }
  for (double& m : mean) m /= of_mean;
  double along = 0;
  for (size_t i = 0; i < n; ++i) along += w[i] * unit[i] * gram.dot(i, mean);
  for (size_t i = 0; i < n; ++i) tangent[i] = w[i] * unit[i] - along * mean[i];
  const double angle = gram.norm(tangent) + eps;
  for (size_t i = 0; i < n; ++i)
    weights[i] = length * (std::cos(angle) * mean[i] + std::sin(angle) / angle * tangent[i]);
}

class MultislerpMethod : public MergeMethod {
 public:
  std::string summary() const override { return "Weighted mean of any number on the sphere"; }
  std::string source() const override { return "mergekit"; }
  MergeTraits traits() const override { return {.base = MergeTraits::Base::optional}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, other, std::nullopt, "Share of the model"},
            {"normalize_weights", flag, shared, 1, "Divide the weights by their sum"},
            {"eps", number, shared, 1e-8, "Added to norms; a shorter mean counts as none"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    Multislerp made{.tensor = task.tensor, .eps = task.value("eps")};
    double sum = 0;
    for (size_t i = 0; i < task.inputs; ++i) {
      made.w.push_back(task.value(i, "weight"));
      sum += made.w.back();
    }
    if (task.flag("normalize_weights") && task.inputs > 1) {
      if (sum == 0)
        throw Error(ErrorKind::usage, "the weights of a mean on the sphere sum to zero",
                    task.tensor, "normalize_weights: false takes them as they are");
      for (double& w : made.w) w /= sum;
    }
    const auto vectors = task.base ? GramPlan::Vectors::differences : GramPlan::Vectors::models;
    return std::make_unique<GramMerge>(task, GramPlan{vectors}, made);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_multislerp_merge_method() {
  return std::make_unique<MultislerpMethod>();
}

}  // namespace smidgen
