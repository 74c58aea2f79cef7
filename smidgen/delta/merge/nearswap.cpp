// Takes the other model b where it is close to the base a, and moves from a by at most t elsewhere:
//   w = clamp(t / max(|a - b|, 1e-6), 0, 1);   w b + (1-w) a
// Source: QuartetAnemoi-70B-t0.0001. As mergekit 0.1.5.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/narrow.h"

namespace smidgen {

namespace {

constexpr float kLeastDistance = 1e-6f;

class NearswapMerge : public TensorMerge {
 public:
  explicit NearswapMerge(const MergeTask& task) : t_(static_cast<float>(task.value("t"))) {}

  void emit(const Chunk& chunk, float* __restrict out) const override {
    const float* __restrict a = chunk.base;
    const float* __restrict b = chunk.inputs[0];
    const float t = t_;
    for (int64_t k = 0; k < chunk.count; ++k) {
      const float ratio = t / std::max(std::abs(a[k] - b[k]), kLeastDistance);
      const float w = std::min(std::max(ratio, 0.0f), 1.0f);
      out[k] = w * b[k] + (1 - w) * a[k];
    }
  }

 private:
  float t_;
};

// mergekit's steps; torch divides a number by a tensor as the number times 1 / tensor.
template <class T>
class NarrowNearswapMerge : public TensorMerge {
 public:
  explicit NarrowNearswapMerge(const MergeTask& task) : t_(static_cast<float>(task.value("t"))) {}

  void emit(const Chunk& chunk, float* out) const override {
    const float least = narrowed<T>(kLeastDistance);
    for (int64_t k = 0; k < chunk.count; ++k) {
      const float a = chunk.base[k], b = chunk.inputs[0][k];
      const float distance = std::max(std::abs(narrowed<T>(a - b)), least);
      const float ratio = narrowed<T>(narrowed<T>(1 / distance) * t_);
      const float w = std::min(std::max(ratio, 0.0f), 1.0f);
      out[k] = narrowed<T>(narrowed<T>(w * b) + narrowed<T>(narrowed<T>(1 - w) * a));
    }
  }

 private:
  float t_;
};

class NearswapMethod : public MergeMethod {
 public:
  std::string summary() const override { return "The other model where it is close to the base"; }
  std::string source() const override { return "alchemonaut/QuartetAnemoi-70B-t0.0001"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required,
            .most = 1,
            .narrow = true,
            .missing = MergeTraits::Missing::copy_base};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"t", number, shared, std::nullopt, "Most that a value moves from the base"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    if (task.as_mergekit) {
      return with_narrow(task.arithmetic, [&](auto type) -> std::unique_ptr<TensorMerge> {
        return std::make_unique<NarrowNearswapMerge<decltype(type)>>(task);
      });
    }
    return std::make_unique<NearswapMerge>(task);
  }
  std::optional<size_t> same_as(const MergeTask& task) const override {
    return task.value("t") == 0 ? std::optional<size_t>(task.inputs) : std::nullopt;
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_nearswap_merge_method() {
  return std::make_unique<NearswapMethod>();
}

}  // namespace smidgen
