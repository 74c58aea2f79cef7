// Fisher-weighted merging (Matena and Raffel 2022, arXiv:2111.09832): each element by its precision
// in each model's posterior,
//   theta = sum_i w_i F_i theta_i / sum_i w_i F_i,    F_i the diagonal of the Fisher matrix,
// with max(F_i, floor) in its place, so that where no model is sure the plain mean comes out (the
// authors' code has the same floor of 1e-6). F_i is MergeTask::statistics: of each model a
// file with tensors of the model's names and shapes. Of a tensor that a file lacks the models count
// by w_i alone.
#include <algorithm>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

namespace {

class FisherMerge : public TensorMerge {
 public:
  explicit FisherMerge(const MergeTask& task) : floor_(static_cast<float>(task.value("floor"))) {
    if (!task.statistics)
      throw Error(ErrorKind::usage, "fisher needs statistics of every model", task.tensor,
                  "statistics: FILE beside each model");
    size_t with = 0;
    for (size_t i = 0; i < task.inputs; ++i) {
      const std::vector<int64_t> shape = task.statistics->shape(i);
      with += !shape.empty() || task.shape.empty();
      if (!shape.empty() && shape != task.shape)
        throw Error(ErrorKind::mismatch,
                    str("the statistics of input ", i + 1, " have the shape ", shape_str(shape),
                        ", the tensor has ", shape_str(task.shape)),
                    task.tensor);
    }
    if (with != 0 && with != task.inputs)
      throw Error(ErrorKind::mismatch, "only some inputs have statistics of this tensor",
                  task.tensor, "all or none");
    weighed_ = with != 0;
  }

  void emit(const Chunk& chunk, float* out) const override {
    const auto n = static_cast<size_t>(chunk.count);
    std::vector<float> fisher(n, 1), sum(n), share(n);
    for (size_t i = 0; i < chunk.inputs.size(); ++i) {
      const auto weight = static_cast<float>(chunk.task->value(i, "weight"));
      if (weighed_) chunk.task->statistics->read(i, chunk.begin, fisher);
      const float* x = chunk.inputs[i];
      for (size_t k = 0; k < n; ++k) {
        const float f = weight * std::max(fisher[k], floor_);
        sum[k] += f * x[k];
        share[k] += f;
      }
    }
    for (size_t k = 0; k < n; ++k) out[k] = share[k] != 0 ? sum[k] / share[k] : chunk.inputs[0][k];
  }

 private:
  float floor_;
  bool weighed_ = false;
};

class FisherMethod : public MergeMethod {
 public:
  std::string summary() const override {
    return "Mean in which each element counts by its Fisher information";
  }
  std::string source() const override { return "arXiv:2111.09832"; }
  MergeTraits traits() const override { return {.statistics = "fisher"}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, input, 1, "Factor of the model's Fisher information"},
            {"floor", number, shared, 1e-6, "Least Fisher information of an element"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<FisherMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_fisher_merge_method() {
  return std::make_unique<FisherMethod>();
}

}  // namespace smidgen
