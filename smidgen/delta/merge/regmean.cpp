// RegMean (Jin et al. 2023, arXiv:2212.09849): the matrix whose outputs are nearest to those of all
// models on their own inputs, in the least squares. For a linear layer W_i [out, in] whose inputs
// x have the Gram matrix G_i = sum x x^T [in, in]:
//   W = (sum_i w_i W_i G'_i) (sum_i w_i G'_i)^-1,   G' = alpha G + (1 - alpha) diag(G)
// alpha below 1 keeps the sum invertible (the authors take 0.9 for T5, 0.95 for others). Tensors
// without a Gram matrix are averaged with the weights w_i. Gram matrices are
// MergeTask::statistics: for each model tensors of its names and shape [in, in]. Memory:
// inputs + 2 matrices of [in, in] in fp64 while one tensor is merged.
#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

namespace {

class RegMeanMerge : public TensorMerge {
 public:
  explicit RegMeanMerge(const MergeTask& task) {
    if (!task.statistics)
      throw Error(ErrorKind::usage, "regmean needs statistics of every model", task.tensor,
                  "statistics: FILE beside each model");
    const double alpha = task.value("alpha");
    if (!(alpha >= 0 && alpha <= 1))
      throw Error(ErrorKind::usage, "alpha must lie in [0, 1]", task.tensor);
    size_t with = 0;
    for (size_t i = 0; i < task.inputs; ++i) with += !task.statistics->shape(i).empty();
    if (with != 0 && with != task.inputs)
      throw Error(ErrorKind::mismatch, "only some inputs have statistics of this tensor",
                  task.tensor, "all or none");
    if (with == 0 || task.shape.size() != 2) {
      average(task);
      return;
    }
    for (size_t i = 0; i < task.inputs; ++i) {
      const std::vector<int64_t> shape = task.statistics->shape(i);
      if (shape != std::vector<int64_t>{task.columns, task.columns})
        throw Error(ErrorKind::mismatch,
                    str("the Gram matrix of input ", i + 1, " has the shape ", shape_str(shape),
                        ", and the layer has ", task.columns, " inputs"),
                    task.tensor);
    }
  }

  // Not at the start: a plan is started as a whole before anything is merged. On one thread, so
  // that bits do not depend on threads.
  void prepare(const MergeTask& task) override {
    if (!weights_.empty()) return;
    struct OneThread {
      const int before = at::get_num_threads();
      OneThread() { at::set_num_threads(1); }
      ~OneThread() { at::set_num_threads(before); }
    } const one_thread;
    const c10::InferenceMode no_grad;
    solve(task);
  }

  void emit(const Chunk& chunk, float* out) const override {
    const c10::InferenceMode no_grad;
    if (!weights_.empty()) {
      for (int64_t k = 0; k < chunk.count; ++k) out[k] = weights_[0] * chunk.inputs[0][k];
      for (size_t i = 1; i < weights_.size(); ++i) {
        for (int64_t k = 0; k < chunk.count; ++k) out[k] += weights_[i] * chunk.inputs[i][k];
      }
      return;
    }
    const int64_t rows = chunk.rows(), columns = chunk.task->columns;
    at::Tensor sum;
    for (size_t i = 0; i < factors_.size(); ++i) {
      const at::Tensor w =
          at::from_blob(const_cast<float*>(chunk.inputs[i]), {rows, columns}, at::kFloat);
      const at::Tensor part = at::mm(w.to(at::kDouble), factors_[i]);
      sum = i == 0 ? part : sum.add_(part);
    }
    at::from_blob(out, {rows, columns}, at::kFloat).copy_(sum);
  }

 private:
  void average(const MergeTask& task) {
    double sum = 0;
    for (size_t i = 0; i < task.inputs; ++i) sum += task.value(i, "weight");
    if (sum == 0) throw Error(ErrorKind::usage, "the weights of a mean sum to zero", task.tensor);
    for (size_t i = 0; i < task.inputs; ++i)
      weights_.push_back(static_cast<float>(task.value(i, "weight") / sum));
  }

  void solve(const MergeTask& task) {
    const double alpha = task.value("alpha");
    const int64_t n = task.columns;
    std::vector<at::Tensor> grams;
    at::Tensor total;
    for (size_t i = 0; i < task.inputs; ++i) {
      std::vector<float> values(static_cast<size_t>(n * n));
      task.statistics->read(i, 0, values);
      at::Tensor gram = at::from_blob(values.data(), {n, n}, at::kFloat).to(at::kDouble);
      const at::Tensor diagonal = gram.diagonal().clone();
      gram.mul_(alpha);
      gram.diagonal().copy_(diagonal);
      gram.mul_(task.value(i, "weight"));
      total = i == 0 ? gram.clone() : total.add_(gram);
      grams.push_back(gram);
    }
    // A direction that no input ever had says nothing; a trace's millionth of a millionth decides
    // it for the mean.
    const double ridge = 1e-12 * total.diagonal().sum().item<double>() / static_cast<double>(n);
    for (at::Tensor& gram : grams) gram.diagonal().add_(ridge / static_cast<double>(grams.size()));
    total.diagonal().add_(ridge > 0 ? ridge : 1.0);
    if (ridge == 0) {
      for (at::Tensor& gram : grams) gram.diagonal().add_(1.0 / static_cast<double>(grams.size()));
    }
    // M_i = G_i T^-1 with symmetric G and T: M_i^T = T^-1 G_i.
    for (const at::Tensor& gram : grams)
      factors_.push_back(at::linalg_solve(total, gram).transpose(0, 1).contiguous());
  }

  std::vector<float> weights_;       // of the plain mean, else empty
  std::vector<at::Tensor> factors_;  // [in, in] fp64
};

class RegMeanMethod : public MergeMethod {
 public:
  std::string summary() const override {
    return "Linear layers whose outputs are nearest to those of all models on their own inputs";
  }
  std::string source() const override { return "arXiv:2212.09849"; }
  MergeTraits traits() const override { return {.statistics = "gram", .alone = true}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, input, 1, "Factor of the model's Gram matrix"},
            {"alpha", number, shared, .9, "What is kept of the Gram matrix off its diagonal"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<RegMeanMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_regmean_merge_method() {
  return std::make_unique<RegMeanMethod>();
}

}  // namespace smidgen
