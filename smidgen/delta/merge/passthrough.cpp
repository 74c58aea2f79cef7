// One model as it is, or each tensor times `scale`. As mergekit 0.1.5, where no scale at all is
// what 1 is here; both keep every value.
#include "smidgen/delta/merge/narrow.h"

namespace smidgen {

namespace {

class PassthroughMerge : public TensorMerge {
 public:
  explicit PassthroughMerge(const MergeTask& task)
      : scale_(static_cast<float>(task.value(0, "scale"))) {}

  void emit(const Chunk& chunk, float* __restrict out) const override {
    const float* __restrict x = chunk.inputs[0];
    const float scale = scale_;
    for (int64_t k = 0; k < chunk.count; ++k) out[k] = scale * x[k];
    narrow_values(chunk.task->arithmetic, {out, static_cast<size_t>(chunk.count)});
  }

 private:
  float scale_;
};

class PassthroughMethod : public MergeMethod {
 public:
  std::string summary() const override { return "One model, scaled where asked"; }
  std::string source() const override { return "mergekit"; }
  MergeTraits traits() const override { return {.most = 1, .narrow = true}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"scale", number, input, 1, "Factor of the tensor's values"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<PassthroughMerge>(task);
  }
  std::optional<size_t> same_as(const MergeTask& task) const override {
    return task.value(0, "scale") == 1 ? std::optional<size_t>(0) : std::nullopt;
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_passthrough_merge_method() {
  return std::make_unique<PassthroughMethod>();
}

}  // namespace smidgen
