// Reinforced Agent Merging with a boost, tensor by tensor (arXiv:2601.13572): the formula stands in
// ram_merge.h. As mergekit 0.1.5.
#include "smidgen/delta/merge/ram_merge.h"

namespace smidgen {

namespace {

class RamplusTlMethod : public MergeMethod {
 public:
  std::string summary() const override { return "ram, with what is one model's alone boosted"; }
  std::string source() const override { return "arXiv:2601.13572"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required, .deltas = true};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"r", number, shared, 0.1, "Strength of the boost"},
            {"alpha", number, shared, 0.2, "Most that shared over unique elements counts"},
            {"epsilon", number, shared, 1e-5, "Smaller differences are none"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<RamMerge>(
        task, RamMerge::Boost{.r = task.value("r"), .alpha = task.value("alpha")});
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_ramplus_tl_merge_method() {
  return std::make_unique<RamplusTlMethod>();
}

}  // namespace smidgen
