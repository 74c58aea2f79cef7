// Model Stock (Jang et al. 2024, arXiv:2403.19522): between the base and the mean of N models, as
// far as their differences d_i from the base agree:
//   c = mean over pairs of cos(d_i, d_j),  t = N c / (1 + (N-1) c)
//   theta = t mean_i theta_i + (1-t) theta_0,   theta_0 where |1 + (N-1) c| < 1e-6
// for the tensor, or under `filter_wise` for each line of its last dimension. A product of norms
// below 1e-6 counts as 1e-6. As mergekit 0.1.5.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/gram.h"

namespace smidgen {

namespace {

constexpr double kLeastNorms = 1e-6, kSingular = 1e-6;

void weigh(const Gram& gram, std::span<double> weights) {
  const auto n = static_cast<double>(gram.size());
  double cosine = 0;
  for (size_t i = 0; i < gram.size(); ++i) {
    for (size_t j = i + 1; j < gram.size(); ++j) {
      const double norms = std::max(gram.norm(i) * gram.norm(j), kLeastNorms);
      cosine += std::clamp(gram.dot(i, j) / norms, -1.0, 1.0);
    }
  }
  cosine /= n * (n - 1) / 2;
  const double below = 1 + (n - 1) * cosine;
  const double t = std::abs(below) < kSingular ? 0 : n * cosine / below;
  std::fill(weights.begin(), weights.end(), t / n);
}

class ModelStockMethod : public MergeMethod {
 public:
  std::string summary() const override {
    return "From the base towards the mean, as far as task vectors agree";
  }
  std::string source() const override { return "arXiv:2403.19522"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required,
            .least = 2,
            .missing = MergeTraits::Missing::base_or_skip};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"filter_wise", flag, shared, 0, "Each line of the last dimension for itself"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    using enum GramPlan::Along;
    return std::make_unique<GramMerge>(
        task, GramPlan{GramPlan::Vectors::differences, task.flag("filter_wise") ? last : tensor},
        weigh);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_model_stock_merge_method() {
  return std::make_unique<ModelStockMethod>();
}

}  // namespace smidgen
