// Interpolation on the sphere between two models, or between their differences from a base, which
// is added to the result:
//   t = w_2 / (w_1 + w_2), 1/2 where |w_1 + w_2| < 1e-6;  th = angle(v_1, v_2)
//   sin((1-t) th) / sin(th) v_1 + sin(t th) / sin(th) v_2,
//   (1-t) v_1 + t v_2 where 1 - cos^2 th <= 1e-16.
// A vector is the tensor; without `nuslerp_flatten` each line of the last dimension, or with
// `nuslerp_row_wise` each along the first, so the columns of a matrix. Norms below 1e-7 count as
// 1e-7. As mergekit 0.1.5 does it; its guide has the two directions the other way round. Nearly
// opposite vectors, which its fp32 turns into noise, are right here.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/gram.h"

namespace smidgen {

namespace {

constexpr double kLeastNorm = 1e-7, kParallel = 1e-16, kLeastSum = 1e-6;

void weigh(const Gram& gram, double t, std::span<double> weights) {
  const double norms = std::max(gram.norm(0), kLeastNorm) * std::max(gram.norm(1), kLeastNorm);
  const double cosine = std::clamp(gram.dot(0, 1) / norms, -1.0, 1.0);
  weights[0] = 1 - t;
  weights[1] = t;
  if (1 - cosine * cosine <= kParallel) return;
  const double angle = std::acos(cosine);
  for (double& weight : weights) weight = std::sin(weight * angle) / std::sin(angle);
}

GramPlan plan(const MergeTask& task) {
  using enum GramPlan::Along;
  const auto vectors = task.base ? GramPlan::Vectors::differences : GramPlan::Vectors::models;
  if (task.flag("nuslerp_flatten")) return {vectors, tensor};
  return {vectors, task.flag("nuslerp_row_wise") ? first : last};
}

class NuslerpMethod : public MergeMethod {
 public:
  std::string summary() const override {
    return "Interpolation on the sphere between two models or task vectors";
  }
  std::string source() const override { return "mergekit"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::optional,
            .least = 2,
            .most = 2,
            .missing = MergeTraits::Missing::copy_single};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {
        {"weight", number, other, std::nullopt, "Share of the model"},
        {"nuslerp_flatten", flag, shared, 1, "The whole tensor is one vector"},
        {"nuslerp_row_wise", flag, shared, 0,
         "Without nuslerp_flatten: vectors along the first dimension, not the last"},
    };
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    const double second = task.value(1, "weight"), sum = task.value(0, "weight") + second;
    const double t = std::abs(sum) < kLeastSum ? 0.5 : second / sum;
    return std::make_unique<GramMerge>(
        task, plan(task),
        [t](const Gram& gram, std::span<double> weights) { weigh(gram, t, weights); });
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_nuslerp_merge_method() {
  return std::make_unique<NuslerpMethod>();
}

}  // namespace smidgen
