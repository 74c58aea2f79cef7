// SCE (select, calculate, erase; Wan et al. 2024, arXiv:2408.07990). With d_i the differences of N
// models from the base:
//   select: where select_topk < 1 the int(select_topk n) elements whose d_i vary most, n the number
//           of elements that vary at all; the d_i are zero elsewhere
//   calculate: w_i = |d_i|^2 / sum_j |d_j|^2, equal where sum_j mean(d_j^2) < 1e-6
//   erase: of an element those d_i stay whose sign is that of sum_i d_i (plus where it is zero)
//   theta = theta_0 + sum w_i d_i / max(sum w_i, 1e-6) over those that stay
// As mergekit 0.1.5. Differs: of equal variances the first elements are taken, where mergekit takes
// any; sums are in double.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/selection.h"

namespace smidgen {

namespace {

constexpr int64_t kStretch = 512;
constexpr double kLeastMean = 1e-6;
constexpr float kLeastWeight = 1e-6f;

// Sum of squares of the selected values.
double squares(const float* __restrict d, const uint32_t* __restrict selected, int64_t count) {
  constexpr int64_t kLanes = 8;
  double lanes[kLanes] = {};
  int64_t k = 0;
  const auto square = [&](int64_t at) {
    const double value = selected[at] != 0 ? d[at] : 0.0f;
    return value * value;
  };
  for (; k + kLanes <= count; k += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += square(k + j);
  for (; k < count; ++k) lanes[0] += square(k);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Population variances of an element's differences; zero where all are equal, to the bit.
std::vector<float> variances(const Chunk& chunk) {
  std::vector<float> made(static_cast<size_t>(chunk.count));
  const float parts = 1 / static_cast<float>(chunk.deltas.size());
  float mean[kStretch];
  for (int64_t at = 0; at < chunk.count; at += kStretch) {
    const int64_t n = std::min(kStretch, chunk.count - at);
    const float* __restrict first = chunk.deltas[0] + at;
    float* __restrict out = made.data() + at;
    std::fill_n(mean, n, 0.0f);
    for (const float* delta : chunk.deltas) {
      const float* __restrict d = delta + at;
      for (int64_t k = 0; k < n; ++k) mean[k] += parts * (d[k] - first[k]);
    }
    for (const float* delta : chunk.deltas) {
      const float* __restrict d = delta + at;
      for (int64_t k = 0; k < n; ++k) {
        const float off = (d[k] - first[k]) - mean[k];
        out[k] += parts * (off * off);
      }
    }
  }
  return made;
}

class SceMerge : public TensorMerge {
 public:
  explicit SceMerge(const MergeTask& task)
      : topk_(task.value("select_topk")), elements_(task.elements), weights_(task.inputs) {
    if (topk_ < 1) selection_.emplace(1, task.elements, true);
  }

  std::optional<PassSize> pass_size(int pass) const override;
  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override;
  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override;
  size_t cursors() const override { return selection_ ? 1 : 0; }
  void emit(const Chunk& chunk, float* out) const override;

 private:
  bool selecting(int pass) const { return selection_ && selection_->pass_size(pass); }
  // All bits set where an element is selected.
  std::vector<uint32_t> mask(const Chunk& chunk) const;

  double topk_;
  int64_t elements_;
  std::optional<Selection> selection_;
  bool weighed_ = false;
  std::vector<float> weights_;
};

std::optional<PassSize> SceMerge::pass_size(int pass) const {
  if (!selecting(pass))
    return weighed_ ? std::nullopt : std::optional(PassSize{.sums = weights_.size()});
  auto size = selection_->pass_size(pass);
  if (pass == 0) ++size->counts;  // of elements that vary
  return size;
}

std::vector<uint32_t> SceMerge::mask(const Chunk& chunk) const {
  std::vector<uint32_t> made(static_cast<size_t>(chunk.count), ~0u);
  if (selection_) selection_->mask(0, variances(chunk), chunk.tile, chunk.cursors, made.data());
  return made;
}

void SceMerge::reduce(int pass, const Chunk& chunk, const Partial& partial) const {
  if (selecting(pass)) {
    const std::vector<float> varying = variances(chunk);
    if (pass == 0)
      partial.counts.back() += std::count_if(varying.begin(), varying.end(),
                                             [](float variance) { return variance != 0; });
    return selection_->reduce(pass, 0, varying, partial);
  }
  const std::vector<uint32_t> selected = mask(chunk);
  for (size_t i = 0; i < weights_.size(); ++i)
    partial.sums[i] += squares(chunk.deltas[i], selected.data(), chunk.count);
}

void SceMerge::finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) {
  if (selecting(pass)) {
    if (pass == 0) {
      const auto vary = static_cast<double>(counts.back());
      selection_->cut({{.rank = static_cast<int64_t>(vary * std::max(0.0, topk_)),
                        .order = RankCut::Order::descending}});
    }
    return selection_->finish(pass, sums, counts);
  }
  std::vector<double> means(weights_.size());
  double all = 0;
  for (size_t at = 0; at < sums.size(); ++at)
    means[at % means.size()] += sums[at] / static_cast<double>(elements_);
  for (const double mean : means) all += mean;
  for (size_t i = 0; i < means.size(); ++i)
    weights_[i] = static_cast<float>(all < kLeastMean ? 1.0 / static_cast<double>(means.size())
                                                      : means[i] / all);
  weighed_ = true;
}

void SceMerge::emit(const Chunk& chunk, float* __restrict out) const {
  const std::vector<uint32_t> selected = mask(chunk);
  float total[kStretch], sum[kStretch], weight[kStretch];
  for (int64_t at = 0; at < chunk.count; at += kStretch) {
    const int64_t n = std::min(kStretch, chunk.count - at);
    std::fill_n(total, n, 0.0f);
    std::fill_n(sum, n, 0.0f);
    std::fill_n(weight, n, 0.0f);
    for (const float* delta : chunk.deltas) {
      const float* __restrict d = delta + at;
      for (int64_t k = 0; k < n; ++k) total[k] += d[k];
    }
    for (size_t i = 0; i < weights_.size(); ++i) {
      const float* __restrict d = chunk.deltas[i] + at;
      const float w = weights_[i];
      for (int64_t k = 0; k < n; ++k) {
        const bool stays = total[k] >= 0 ? d[k] > 0 : d[k] < 0;
        sum[k] += stays ? w * d[k] : 0.0f;
        weight[k] += stays ? w : 0.0f;
      }
    }
    const float* __restrict base = chunk.base + at;
    const uint32_t* __restrict taken = selected.data() + at;
    for (int64_t k = 0; k < n; ++k) {
      const float move = sum[k] / std::max(weight[k], kLeastWeight);
      out[at + k] = base[k] + (taken[k] != 0 ? move : 0.0f);
    }
  }
}

class SceMethod : public MergeMethod {
 public:
  std::string summary() const override {
    return "Task vectors where they vary most, weighted by their size, by majority of signs";
  }
  std::string source() const override { return "arXiv:2408.07990"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required, .deltas = true};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"select_topk", number, shared, 1, "Part of the elements that is selected"},
            {"int8_mask", flag, shared, 0, "As mergekit spells it; masks take no memory here"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<SceMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_sce_merge_method() {
  return std::make_unique<SceMethod>();
}

}  // namespace smidgen
