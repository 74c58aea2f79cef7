// Weighted mean (Wortsman et al. 2022, "model soups", arXiv:2203.05482):
//   theta = sum_i w_i theta_i / sum_i w_i,    without `normalize` the plain sum.
// As mergekit 0.1.5, which sums in fp32 too. Differs: weights that sum to zero under `normalize`
// are refused, where mergekit writes NaN.
#include <cmath>

#include "smidgen/delta/merge/narrow.h"

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

// mergekit's steps: the sum in fp32, divided, rounded once. torch's addcmul rounds a
// product and the sum it goes into together.
template <class T>
class NarrowLinearMerge : public LinearMerge {
 public:
  explicit NarrowLinearMerge(const MergeTask& task) : LinearMerge(task) {
    for (size_t i = 0; i < task.inputs; ++i) {
      own_.push_back(static_cast<float>(task.value(i, "weight")));
      sum_ += own_.back();
    }
    if (!task.flag("normalize")) sum_ = 1;
  }

  void emit(const Chunk& chunk, float* out) const override {
    for (int64_t k = 0; k < chunk.count; ++k) {
      float sum = 0;
      for (size_t i = 0; i < own_.size(); ++i) sum = std::fma(own_[i], chunk.inputs[i][k], sum);
      out[k] = narrowed<T>(sum / sum_);
    }
  }

 private:
  std::vector<float> own_;
  float sum_ = 0;
};

class LinearMethod : public MergeMethod {
 public:
  std::string summary() const override { return "Weighted mean of whole models"; }
  std::string source() const override { return "arXiv:2203.05482"; }
  MergeTraits traits() const override { return {.narrow = true}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, input, std::nullopt, "Share of the model"},
            {"normalize", flag, shared, 1, "Divide by the sum of the weights"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    if (task.as_mergekit) {
      return with_narrow(task.arithmetic, [&](auto type) -> std::unique_ptr<TensorMerge> {
        return std::make_unique<NarrowLinearMerge<decltype(type)>>(task);
      });
    }
    return std::make_unique<LinearMerge>(task);
  }
  std::optional<size_t> same_as(const MergeTask& task) const override {
    std::optional<size_t> only;
    for (size_t i = 0; i < task.inputs; ++i) {
      if (task.value(i, "weight") == 0) continue;
      if (only) return std::nullopt;
      only = i;
    }
    const bool whole = only && (task.flag("normalize") || task.value(*only, "weight") == 1);
    return whole ? only : std::nullopt;
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_linear_merge_method() {
  return std::make_unique<LinearMethod>();
}

}  // namespace smidgen
