// Reinforced Agent Merging (arXiv:2601.13572): task vectors are added where one model alone moves
// and averaged over the models that move. The formula stands in ram_merge.h. As mergekit 0.1.5.
#include "smidgen/delta/merge/ram_merge.h"

namespace smidgen {

namespace {

class RamMethod : public MergeMethod {
 public:
  std::string summary() const override {
    return "Task vectors, averaged over the models that move";
  }
  std::string source() const override { return "arXiv:2601.13572"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required, .deltas = true};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"epsilon", number, shared, 1e-5, "Smaller differences are none"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<RamMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_ram_merge_method() {
  return std::make_unique<RamMethod>();
}

}  // namespace smidgen
