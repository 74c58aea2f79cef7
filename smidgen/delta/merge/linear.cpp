// Weighted mean (Wortsman et al. 2022, "model soups", arXiv:2203.05482):
//   theta = sum_i w_i theta_i / sum_i w_i,    without `normalize` the plain sum.
// As mergekit 0.1.5, which sums in fp32 too. Differs: weights that sum to zero under `normalize`
// are refused, where mergekit writes NaN.
#include <cmath>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

namespace {

class LinearMerge : public TensorMerge {
 public:
  explicit LinearMerge(const MergeTask& task) {
    double sum = 0;
    for (size_t i = 0; i < task.inputs; ++i) sum += task.value(i, "weight");
    const bool normalize = task.flag("normalize");
    if (normalize && sum == 0)
      throw Error(ErrorKind::usage, "the weights of a weighted mean sum to zero", task.tensor,
                  "normalize: false gives their plain sum");
    for (size_t i = 0; i < task.inputs; ++i)
      weights_.push_back(static_cast<float>(task.value(i, "weight") / (normalize ? sum : 1.0)));
  }

  void emit(const Chunk& chunk, float* out) const override {
    for (int64_t k = 0; k < chunk.count; ++k) out[k] = weights_[0] * chunk.inputs[0][k];
    for (size_t i = 1; i < weights_.size(); ++i) {
      const float* x = chunk.inputs[i];
      for (int64_t k = 0; k < chunk.count; ++k) out[k] += weights_[i] * x[k];
    }
  }

 private:
  std::vector<float> weights_;
};

class LinearMethod : public MergeMethod {
 public:
  std::string summary() const override { return "Weighted mean of whole models"; }
  std::string source() const override { return "arXiv:2203.05482"; }
  MergeTraits traits() const override { return {}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, input, std::nullopt, "Share of the model"},
            {"normalize", flag, shared, 1, "Divide by the sum of the weights"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<LinearMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_linear_merge_method() {
  return std::make_unique<LinearMethod>();
}

}  // namespace smidgen
