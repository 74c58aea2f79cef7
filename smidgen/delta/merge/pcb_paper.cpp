// Parameter competition balancing by the formulas printed in the paper (arXiv:2410.02396), which
// its scripts do not follow (pcb_merge.h):
//   beta_i = softmax(n norm(T_i T_i)) sum_j softmax(norm(T_i T_j)),  softmax over the whole model
//   beta_i counts where it is at least its value at rank (1 - density) d, else it is 0
//   theta  = theta_0 + sum_i weight_i beta_i T_i / sum_i beta_i;     theta_0 where all are 0
// Softmaxes are multiplied by d here, which cancels and keeps them near 1.
#include <algorithm>
#include <cmath>

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/method.h"
#include "smidgen/delta/merge/selection.h"

namespace smidgen {

namespace {

class PcbPaperMerge : public TensorMerge {
 public:
  explicit PcbPaperMerge(const MergeTask& task)
      : inputs_(task.inputs),
        elements_(static_cast<double>(task.elements)),
        scores_(task.inputs, task.elements, false) {
    const double density = task.value("density");
    if (!(density > 0 && density <= 1))
      throw Error(ErrorKind::usage, "density must lie in (0, 1]", task.tensor,
                  "it is the share of entries that each model keeps");
    std::vector<RankCut> cuts;
    const int64_t last = std::max<int64_t>(0, task.elements - 1);
    for (size_t i = 0; i < inputs_; ++i)
      cuts.push_back({i, std::min(last, static_cast<int64_t>(elements_ * (1 - density)))});
    scores_.cut(cuts);
    for (size_t i = 0; i < inputs_; ++i) {
      for (size_t j = i; j < inputs_; ++j) pairs_.push_back({i, j});
    }
  }

  std::optional<PassSize> pass_size(int pass) const override {
    if (pass == 0) return PassSize{.sums = 2 * pairs_.size() + 1};
    if (pass == 1) return PassSize{.sums = inputs_ + pairs_.size()};
    return scores_.pass_size(pass - 2);
  }

  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override {
    if (pass == 0) return find_range(chunk, partial.sums);
    if (pass == 1) {
      for (size_t i = 0; i < inputs_; ++i) partial.sums[i] += total(inside(chunk, i));
      for (size_t p = 0; p < pairs_.size(); ++p)
        partial.sums[inputs_ + p] += total(between(chunk, p));
      return;
    }
    const auto betas = score(chunk);
    for (size_t i = 0; i < inputs_; ++i) scores_.reduce(pass - 2, i, betas[i], partial);
  }

  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override {
    if (pass >= 2) return scores_.finish(pass - 2, sums, counts);
    const size_t width = pass_size(pass)->sums;
    if (pass == 1) {
      divisors_.assign(width, 0);
      for (size_t at = 0; at < sums.size(); ++at) divisors_[at % width] += sums[at];
      for (double& sum : divisors_) sum = std::max(sum / elements_, 1e-30);
      return;
    }
    low_.assign(pairs_.size(), 0);
    high_ = low_;
    bool first = true;
    for (size_t at = 0; at < sums.size(); at += width) {
      if (sums[at + width - 1] == 0) continue;
      for (size_t p = 0; p < pairs_.size(); ++p) {
        const auto low = static_cast<float>(sums[at + 2 * p]);
        const auto high = static_cast<float>(sums[at + 2 * p + 1]);
        low_[p] = first ? low : std::min(low_[p], low);
        high_[p] = first ? high : std::max(high_[p], high);
      }
      first = false;
    }
  }

  void emit(const Chunk& chunk, float* out) const override {
    const auto betas = score(chunk);
    for (int64_t k = 0; k < chunk.count; ++k) {
      float sum = 0, share = 0;
      for (size_t i = 0; i < inputs_; ++i) {
        const float beta = betas[i][k] >= scores_.value(i) ? betas[i][k] : 0;
        sum += beta * static_cast<float>(chunk.task->value(i, "weight")) * chunk.deltas[i][k];
        share += beta;
      }
      out[k] = chunk.base[k] + (share > 0 ? sum / share : 0);
    }
  }

 private:
  using Values = std::vector<float>;

  // The last cell says that the others hold something.
  void find_range(const Chunk& chunk, std::span<double> cells) const {
    for (size_t p = 0; p < pairs_.size(); ++p) {
      const auto [i, j] = pairs_[p];
      double low = cells.back() == 0 ? INFINITY : cells[2 * p];
      double high = cells.back() == 0 ? -INFINITY : cells[2 * p + 1];
      for (int64_t k = 0; k < chunk.count; ++k) {
        const double product = chunk.deltas[i][k] * chunk.deltas[j][k];
        low = std::min(low, product);
        high = std::max(high, product);
      }
      cells[2 * p] = low;
      cells[2 * p + 1] = high;
    }
    cells.back() = 1;
  }

  // exp(factor norm(T_i T_j)).
  Values exponential(const Chunk& chunk, size_t pair, float factor) const {
    const auto [i, j] = pairs_[pair];
    const float low = low_[pair];
    const float scale = high_[pair] > low ? factor / (high_[pair] - low) : 0;
    Values x(static_cast<size_t>(chunk.count));
    for (int64_t k = 0; k < chunk.count; ++k)
      x[k] = (chunk.deltas[i][k] * chunk.deltas[j][k] - low) * scale;
    const c10::InferenceMode no_grad;
    at::from_blob(x.data(), {chunk.count}, at::kFloat).exp_();
    return x;
  }
  size_t pair_of(size_t i, size_t j) const {
    const auto wanted = std::minmax(i, j);
    for (size_t p = 0; p < pairs_.size(); ++p) {
      if (pairs_[p].first == wanted.first && pairs_[p].second == wanted.second) return p;
    }
    SMIDGEN_ASSERT(!"every pair is in the list");
  }
  Values inside(const Chunk& chunk, size_t i) const {
    return exponential(chunk, pair_of(i, i), static_cast<float>(inputs_));
  }
  Values between(const Chunk& chunk, size_t pair) const { return exponential(chunk, pair, 1); }
  static double total(const Values& x) {
    double sum = 0;
    for (const float value : x) sum += value;
    return sum;
  }

  std::vector<Values> score(const Chunk& chunk) const {
    std::vector<Values> products, all;
    for (size_t p = 0; p < pairs_.size(); ++p) products.push_back(between(chunk, p));
    for (size_t i = 0; i < inputs_; ++i) {
      Values rivals(static_cast<size_t>(chunk.count)), beta = inside(chunk, i);
      for (size_t j = 0; j < inputs_; ++j) {
        const size_t p = pair_of(i, j);
        const auto factor = static_cast<float>(1 / divisors_[inputs_ + p]);
        for (int64_t k = 0; k < chunk.count; ++k) rivals[k] += products[p][k] * factor;
      }
      const auto factor = static_cast<float>(1 / divisors_[i]);
      for (int64_t k = 0; k < chunk.count; ++k) beta[k] *= factor * rivals[k];
      all.push_back(std::move(beta));
    }
    return all;
  }

  size_t inputs_;
  double elements_;
  Selection scores_;
  std::vector<std::pair<size_t, size_t>> pairs_;
  std::vector<float> low_, high_;  // of the products of each pair
  std::vector<double> divisors_;   // means of the exponentials: inside, then pairs
};

class PcbPaperMethod : public MergeMethod {
 public:
  std::string summary() const override { return "PCB by the formulas of its paper"; }
  std::string source() const override { return "arXiv:2410.02396"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required, .deltas = true, .whole_model = true};
  }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, other, 1, "Scale of the model's task vector", /*late=*/true},
            {"density", number, shared, .1, "Share of entries that each model keeps"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<PcbPaperMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_pcb_paper_merge_method() {
  return std::make_unique<PcbPaperMethod>();
}

}  // namespace smidgen
