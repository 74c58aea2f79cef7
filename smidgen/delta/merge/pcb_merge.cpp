#include "smidgen/delta/merge/pcb_merge.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/selection.h"

namespace smidgen {

namespace {

// x = exp(x), x = tanh(x), by torch's vector functions.
void exp_in_place(std::vector<float>& x) {
  const c10::InferenceMode no_grad;
  at::from_blob(x.data(), {static_cast<int64_t>(x.size())}, at::kFloat).exp_();
}
void tanh_in_place(std::vector<float>& x) {
  const c10::InferenceMode no_grad;
  at::from_blob(x.data(), {static_cast<int64_t>(x.size())}, at::kFloat).tanh_();
}

struct Span {
  float low = 0, high = 0;
  // The factor of norm(x) = (x - low) factor.
  float factor() const { return high > low ? 1 / (high - low) : 0; }
};

class PcbMerge : public TensorMerge {
 public:
  PcbMerge(PcbVariant variant, const MergeTask& task)
      : variant_(variant),
        inputs_(task.inputs),
        magnitudes_(task.inputs, task.elements, false),
        scores_(task.inputs, task.elements, false),
        strength_(static_cast<float>(task.value("strength") > 0
                                         ? task.value("strength")
                                         : static_cast<double>(task.inputs))) {
    const double density = task.value("density"), winsor = task.value("winsor");
    if (!(density > 0 && density <= 1)) {
      throw Error(ErrorKind::usage, "density must lie in (0, 1]", task.tensor,
                  "it is the share of entries that each model keeps");
    }
    if (!(winsor >= 0 && winsor < .5))
      throw Error(ErrorKind::usage, "winsor must lie in [0, 0.5)", task.tensor);
    // Zero-based places in the sorted row, as the scripts compute them.
    const double d = static_cast<double>(task.elements);
    const int64_t last = std::max<int64_t>(0, task.elements - 1);
    const auto place = [&](double x) {
      return std::clamp<int64_t>(static_cast<int64_t>(x), 0, last);
    };
    std::vector<RankCut> bounds, kept;
    for (size_t i = 0; i < inputs_; ++i) {
      bounds.push_back({i, place(d * winsor)});
      bounds.push_back({i, place(d * (1 - winsor) - 1)});
      kept.push_back({i, place(d * (1 - density))});
      kept.push_back({i, last});
    }
    magnitudes_.cut(bounds);
    scores_.cut(kept);
  }

  std::optional<PassSize> pass_size(int pass) const override {
    if (pass < first_) return magnitudes_.pass_size(pass);
    if (const auto size = first_ == kUnknown ? magnitudes_.pass_size(pass) : std::nullopt)
      return size;
    return scores_.pass_size(pass - first_);
  }

  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override {
    const size_t n = static_cast<size_t>(chunk.count);
    if (pass < first_) {
      std::vector<float> values(n);
      for (size_t i = 0; i < inputs_; ++i) {
        for (size_t k = 0; k < n; ++k) values[k] = std::abs(chunk.deltas[i][k]);
        magnitudes_.reduce(pass, i, values, partial);
      }
      return;
    }
    const std::vector<std::vector<float>> scores = score(chunk);
    for (size_t i = 0; i < inputs_; ++i) scores_.reduce(pass - first_, i, scores[i], partial);
  }

  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override {
    if (pass >= first_) {
      scores_.finish(pass - first_, sums, counts);
    } else {
      magnitudes_.finish(pass, sums, counts);
      if (!magnitudes_.pass_size(pass + 1)) {
        first_ = pass + 1;
        for (size_t i = 0; i < inputs_; ++i)
          magnitude_.push_back({magnitudes_.value(2 * i), magnitudes_.value(2 * i + 1)});
      }
      return;
    }
    if (scores_.pass_size(pass - first_ + 1)) return;
    for (size_t i = 0; i < inputs_; ++i)
      score_.push_back({scores_.value(2 * i), scores_.value(2 * i + 1)});
  }

  void emit(const Chunk& chunk, float* out) const override {
    const size_t n = static_cast<size_t>(chunk.count);
    std::vector<float> sum(n), share(n);
    const std::vector<std::vector<float>> scores = score(chunk);
    for (size_t i = 0; i < inputs_; ++i) {
      const auto weight = static_cast<float>(chunk.task->value(i, "weight"));
      const Span span = score_[i], size = magnitude_[i];
      const float factor = span.factor();
      for (size_t k = 0; k < n; ++k) {
        const float s = (std::max(scores[i][k], span.low) - span.low) * factor;
        const float t = chunk.deltas[i][k];
        const float a = std::clamp(std::abs(t), size.low, size.high);
        // A difference of zero has no sign: it is merged as zero, whatever its clamped size.
        const float c = t == 0 ? 0 : std::copysign(a, t);
        sum[k] += weight * c * s;
        share[k] += s;
      }
    }
    for (size_t k = 0; k < n; ++k) out[k] = chunk.base[k] + sum[k] / std::max(share[k], 1e-12f);
  }

 private:
  static constexpr int kUnknown = 1 << 20;

  // beta of every task.
  std::vector<std::vector<float>> score(const Chunk& chunk) const {
    const size_t n = static_cast<size_t>(chunk.count);
    std::vector<std::vector<float>> norms(inputs_, std::vector<float>(n)), all;
    for (size_t i = 0; i < inputs_; ++i) {
      const Span span = magnitude_[i];
      const float factor = span.factor();
      for (size_t k = 0; k < n; ++k)
        norms[i][k] =
            (std::clamp(std::abs(chunk.deltas[i][k]), span.low, span.high) - span.low) * factor;
    }
    const std::vector<float> rivals = rival_sum(chunk, norms);
    for (size_t i = 0; i < inputs_; ++i) {
      std::vector<float> beta(n), between = competition(chunk, norms, rivals, i);
      for (size_t k = 0; k < n; ++k) beta[k] = strength_ * norms[i][k] * norms[i][k];
      exp_in_place(beta);
      for (size_t k = 0; k < n; ++k) beta[k] *= between[k];
      all.push_back(std::move(beta));
    }
    return all;
  }

  static float signed_as(float size, float t) { return t == 0 ? 0 : std::copysign(size, t); }

  // sum_j of T_j or of N_j.
  std::vector<float> rival_sum(const Chunk& chunk,
                               const std::vector<std::vector<float>>& norms) const {
    std::vector<float> sum(static_cast<size_t>(chunk.count));
    for (size_t j = 0; j < inputs_; ++j) {
      for (size_t k = 0; k < sum.size(); ++k) {
        const float t = chunk.deltas[j][k];
        sum[k] += variant_ == PcbVariant::script ? t : signed_as(norms[j][k], t);
      }
    }
    return sum;
  }

  std::vector<float> competition(const Chunk& chunk, const std::vector<std::vector<float>>& norms,
                                 const std::vector<float>& rivals, size_t i) const {
    const size_t n = static_cast<size_t>(chunk.count);
    std::vector<float> between(n);
    if (variant_ != PcbVariant::es) {
      for (size_t k = 0; k < n; ++k) between[k] = chunk.deltas[i][k] * rivals[k];
      tanh_in_place(between);
      return between;
    }
    std::vector<float> product(n);
    for (size_t j = 0; j < inputs_; ++j) {
      for (size_t k = 0; k < n; ++k) {
        product[k] =
            signed_as(norms[i][k], chunk.deltas[i][k]) * signed_as(norms[j][k], chunk.deltas[j][k]);
      }
      tanh_in_place(product);
      for (size_t k = 0; k < n; ++k) between[k] += product[k];
    }
    return between;
  }

  PcbVariant variant_;
  size_t inputs_;
  Selection magnitudes_, scores_;
  float strength_;
  int first_ = kUnknown;  // pass of the scores
  std::vector<Span> magnitude_, score_;
};

class PcbMethod : public MergeMethod {
 public:
  explicit PcbMethod(PcbVariant variant) : variant_(variant) {}
  std::string summary() const override {
    switch (variant_) {
      case PcbVariant::script:
        return "Task vectors weighed by their own size and by how the others agree (PCB)";
      case PcbVariant::vision:
        return "PCB as its script for image models has it";
      default:
        return "PCB as its script with the coefficient search has it; scales with the task vectors";
    }
  }
  std::string source() const override { return "arXiv:2410.02396"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required, .deltas = true, .whole_model = true};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    const double winsor = variant_ == PcbVariant::script ? 1e-4 : 1e-2;
    return {{"weight", number, other, 1, "Scale of the model's task vector", /*late=*/true},
            {"density", number, shared, .1, "Share of entries that each model keeps"},
            {"winsor", number, shared, winsor, "Share of magnitudes that is clamped at each end"},
            {"strength", number, shared, 0,
             "Factor of the competition inside of a task; 0: the number of models"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<PcbMerge>(variant_, task);
  }

 private:
  PcbVariant variant_;
};

}  // namespace

std::unique_ptr<const MergeMethod> make_pcb(PcbVariant variant) {
  return std::make_unique<PcbMethod>(variant);
}

}  // namespace smidgen
