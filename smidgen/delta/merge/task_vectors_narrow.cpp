#include "smidgen/delta/merge/task_vectors_narrow.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include <ATen/ops/abs.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/narrow.h"
#include "smidgen/delta/merge/sparsifiers.h"

namespace smidgen {

namespace {

using Keep = TaskVectorKind::Keep;

constexpr double kLeastNorm = 1e-7;
constexpr float kLeastDivisor = 1e-8f;

template <class T>
class NarrowTaskVectors : public TensorMerge {
 public:
  NarrowTaskVectors(const TaskVectorKind& kind, const MergeTask& task)
      : keep_(kind.keep),
        consensus_(kind.consensus),
        normalize_(task.flag("normalize")),
        rescale_(task.flag("rescale")),
        lambda_(static_cast<float>(task.value("lambda"))) {
    const c10::InferenceMode no_grad;
    for (size_t i = 0; i < task.inputs; ++i) {
      Input& input = inputs_.emplace_back();
      input.weight = narrowed<T>(static_cast<float>(task.value(i, "weight")));
      weights_.push_back(input.weight);
      if (keep_ == Keep::everything) continue;
      input.density = task.value(i, "density");
      input.thin = thinned(task, i);
      input.dropped = input.density <= 0;
      if (keep_ == Keep::below_outliers) input.gamma = task.value(i, "gamma");
      if (!(input.gamma >= 0 && input.gamma <= 1))
        throw Error(ErrorKind::usage, "gamma must lie in [0, 1]", task.tensor);
      thins_ = thins_ || input.thin;
    }
    if (thins_ && (keep_ == Keep::at_random || keep_ == Keep::by_row_rank))
      throw Error(ErrorKind::unsupported,
                  "values kept at random are not those that mergekit would keep", task.tensor,
                  "leave out compat: mergekit, or density 1");
    const at::Tensor all = at::tensor(weights_, at::kFloat).to(c10::CppTypeToScalarType<T>::value);
    divisor_ = all.sum(0).to(at::kFloat).template item<float>();
    if (std::abs(divisor_) < kLeastDivisor) divisor_ = 1;
  }

  std::optional<PassSize> pass_size(int pass) const override {
    return thins_ && pass == 0 ? std::optional(PassSize{}) : std::nullopt;
  }

  void reduce(int, const Chunk& chunk, const Partial&) const override {
    // Not at the start: a plan is started as a whole before anything is merged.
    std::call_once(room_, [&] {
      for (const Input& input : inputs_) {
        if (input.thin) input.sizes.resize(static_cast<size_t>(chunk.task->elements));
      }
    });
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (!inputs_[i].thin) continue;
      float* sizes = inputs_[i].sizes.data() + chunk.begin;  // a place of each thread's own
      const float* delta = chunk.deltas[i];
      for (int64_t k = 0; k < chunk.count; ++k) sizes[k] = std::abs(narrowed<T>(delta[k]));
    }
  }

  // Magnitudes become a mask of zeros and ones.
  void finish(int, std::span<const double>, std::span<const uint64_t>) override {
    const c10::InferenceMode no_grad;
    for (Input& input : inputs_) {
      if (input.sizes.empty()) continue;
      const auto count = static_cast<int64_t>(input.sizes.size());
      const at::Tensor sizes = at::from_blob(input.sizes.data(), {count}, at::kFloat);
      const at::Tensor kept = kept_places(sizes, input);
      at::Tensor narrow;  // of its own: the sizes become the mask
      if (rescale_)
        narrow =
            sizes.to(c10::CppTypeToScalarType<T>::value, /*non_blocking=*/false, /*copy=*/true);
      sizes.zero_();
      sizes.index_fill_(0, kept, 1);
      if (!rescale_) continue;
      const float all = norm(narrow), left = norm(narrow * sizes.to(narrow.scalar_type()));
      if (!(all < kLeastNorm || left < kLeastNorm)) input.factor = narrowed<T>(all / left);
    }
  }

  void emit(const Chunk& chunk, float* out) const override {
    const size_t models = inputs_.size();
    std::vector<float> y(models);
    for (int64_t k = 0; k < chunk.count; ++k) {
      float sum = 0;
      for (size_t i = 0; i < models; ++i) {
        y[i] = weighed(inputs_[i], chunk, i, k);
        sum += y[i];
      }
      sum = narrowed<T>(sum);
      float divisor = divisor_;
      if (consensus_) {
        const bool plus = sum >= 0;
        float agreeing = 0, weights = 0;
        for (size_t i = 0; i < models; ++i) {
          const bool agrees = plus ? y[i] > 0 : y[i] < 0;
          agreeing += agrees ? y[i] : 0;
          weights += agrees ? inputs_[i].weight : 0;
        }
        sum = narrowed<T>(agreeing);
        divisor = narrowed<T>(weights);
        if (divisor == 0) divisor = 1;
      }
      if (normalize_) sum = narrowed<T>(sum / divisor);
      if (lambda_ != 1) sum = narrowed<T>(sum * lambda_);
      out[k] = narrowed<T>(chunk.base[k] + sum);
    }
  }

 private:
  struct Input {
    float weight = 0;
    double density = 1, gamma = 0;
    float factor = 1;  // of the rescaling
    bool thin = false, dropped = false;
    mutable std::vector<float> sizes;  // magnitudes, then the mask
  };

  float weighed(const Input& input, const Chunk& chunk, size_t i, int64_t k) const {
    float delta = input.dropped ? 0 : narrowed<T>(chunk.deltas[i][k]);
    if (input.thin) {
      delta *= input.sizes[static_cast<size_t>(chunk.begin + k)];
      if (input.factor != 1) delta = narrowed<T>(delta * input.factor);
    }
    return narrowed<T>(delta * input.weight);
  }

  at::Tensor kept_places(const at::Tensor& sizes, const Input& input) const {
    const int64_t count = sizes.size(0);
    const auto target = static_cast<int64_t>(input.density * static_cast<double>(count));
    if (keep_ == Keep::largest)
      return at::argsort(sizes, -1, /*descending=*/true).narrow(0, 0, std::max<int64_t>(1, target));
    const auto top = static_cast<int64_t>(input.gamma * static_cast<double>(count));
    const int64_t bottom = std::max<int64_t>(0, count - target - top);
    return std::get<1>(at::sort(sizes, -1, /*descending=*/false)).narrow(0, bottom, target);
  }

  static float norm(const at::Tensor& values) {
    return values.abs().sum().to(at::kFloat).template item<float>();
  }

  Keep keep_;
  bool consensus_, normalize_, rescale_, thins_ = false;
  float lambda_, divisor_ = 1;
  std::vector<float> weights_;
  std::vector<Input> inputs_;
  mutable std::once_flag room_;
};

}  // namespace

std::unique_ptr<TensorMerge> merge_narrow_task_vectors(const TaskVectorKind& kind,
                                                       const MergeTask& task) {
  return with_narrow(task.arithmetic, [&](auto type) -> std::unique_ptr<TensorMerge> {
    return std::make_unique<NarrowTaskVectors<decltype(type)>>(kind, task);
  });
}

}  // namespace smidgen
