// Interpolation on the sphere between the base a and one other model b, each taken as one vector:
//   th = angle(a, b);   sin((1-t) th) / sin(th) a + sin(t th) / sin(th) b
// and (1-t) a + t b where |cos th| > 0.9995, nearly parallel or opposite. The weights apply to a
// and b themselves, so lengths are interpolated with the directions. A norm of at most 1e-8 counts
// as 1. As mergekit 0.1.5, which sums in fp32; here in double.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/gram.h"

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

class SlerpMethod : public MergeMethod {
 public:
  std::string summary() const override { return "Interpolation on the sphere, base to one model"; }
  std::string source() const override { return "Shoemake 1985"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required,
            .most = 1,
            .missing = MergeTraits::Missing::copy_single};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"t", number, shared, std::nullopt, "0 is the base, 1 the other model"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<GramMerge>(
        task, GramPlan{GramPlan::Vectors::base_and_models},
        [t = task.value("t")](const Gram& gram, std::span<double> weights) {
          weigh(gram, t, weights);
        });
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_slerp_merge_method() {
  return std::make_unique<SlerpMethod>();
}

}  // namespace smidgen
