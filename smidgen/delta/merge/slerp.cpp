// Interpolation on the sphere between the base a and one other model b, each taken as one vector:
//   th = angle(a, b);   sin((1-t) th) / sin(th) a + sin(t th) / sin(th) b
// and (1-t) a + t b where |cos th| > 0.9995, nearly parallel or opposite. The weights apply to a
// and b themselves, so lengths are interpolated with the directions. A norm of at most 1e-8 counts
// as 1. As mergekit 0.1.5, which sums in fp32; here in double.
#include <algorithm>
#include <cmath>

#include <ATen/ops/scalar_tensor.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/delta/merge/gram.h"
#include "smidgen/delta/merge/narrow.h"

namespace smidgen {

namespace {

constexpr double kParallel = 0.9995, kLeastNorm = 1e-8;

double norm(const Gram& gram, size_t i) {
  return gram.norm(i) > kLeastNorm ? gram.norm(i) : 1;
}

void weigh(const Gram& gram, double t, std::span<double> weights) {
  const double cosine = std::clamp(gram.dot(0, 1) / norm(gram, 0) / norm(gram, 1), -1.0, 1.0);
  weights[0] = 1 - t;
  weights[1] = t;
  if (std::abs(cosine) > kParallel) return;
  const double angle = std::acos(cosine);
  for (double& weight : weights) weight = std::sin(weight * angle) / std::sin(angle);
}

// mergekit's steps from the cosine on, in fp32 by torch's functions. Its cosine is a sum in fp32
// and this one in double: weights may differ in their last bit.
void weigh_in_floats(const Gram& gram, float t, std::span<double> weights) {
  const c10::InferenceMode no_grad;
  const double cosine = std::clamp(gram.dot(0, 1) / norm(gram, 0) / norm(gram, 1), -1.0, 1.0);
  const float rest = 1 - t;
  weights[0] = rest;
  weights[1] = t;
  if (std::abs(static_cast<float>(cosine)) > static_cast<float>(kParallel)) return;
  const at::Tensor angle = at::scalar_tensor(cosine, at::kFloat).acos();
  const at::Tensor sine = angle.sin();
  weights[0] = (angle.mul(rest).sin() / sine).item<double>();
  weights[1] = (angle.mul(t).sin() / sine).item<double>();
}

class SlerpMethod : public MergeMethod {
 public:
  std::string summary() const override { return "Interpolation on the sphere, base to one model"; }
  std::string source() const override { return "Shoemake 1985"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required,
            .most = 1,
            .narrow = true,
            .missing = MergeTraits::Missing::copy_single};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"t", number, shared, std::nullopt, "0 is the base, 1 the other model"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    if (task.as_mergekit)
      return std::make_unique<GramMerge>(
          task, GramPlan{GramPlan::Vectors::base_and_models},
          [t = static_cast<float>(task.value("t"))](const Gram& gram, std::span<double> weights) {
            weigh_in_floats(gram, t, weights);
          });
    return std::make_unique<GramMerge>(
        task, GramPlan{GramPlan::Vectors::base_and_models},
        [t = task.value("t")](const Gram& gram, std::span<double> weights) {
          weigh(gram, t, weights);
        });
  }
  std::optional<size_t> same_as(const MergeTask& task) const override {
    const double t = task.value("t");
    if (t == 0) return task.inputs;
    return t == 1 ? std::optional<size_t>(0) : std::nullopt;
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_slerp_merge_method() {
  return std::make_unique<SlerpMethod>();
}

}  // namespace smidgen
