// Arcee Fusion: the values of the other model b that matter most, and the base a elsewhere.
//   p = softmax(b) + 1e-8, q = softmax(a) + 1e-8 along the last dimension
//   importance = |b - a| sum p log(p/q)
//   b where importance >= Q2 + 3/2 (Q3 - Q1), with Q the importances at rank floor(q (n-1))
// As mergekit 0.1.5. Differs: quantiles are exact for tensors of every size, where mergekit draws a
// million values of larger ones; divergences are in double (between close models they are about
// 1e-9, which its fp32 rounds to noise), and b is taken to the bit.
#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/selection.h"
#include "smidgen/delta/merge/tensor_engine.h"
#include "smidgen/delta/source.h"

namespace smidgen {

namespace {

constexpr double kFloor = 1e-8;

// exp(x - max x), and the sum of that.
double exponentials(std::span<const float> x, double* out) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (size_t k = 0; k < x.size(); ++k) sum += out[k] = std::exp(x[k] - most);
  return sum;
}

class ArceeFusionMerge : public TensorMerge {
 public:
  explicit ArceeFusionMerge(const MergeTask& task)
      : columns_(std::max<int64_t>(1, task.columns)),
        rows_of_tile_(Cut::of(task.elements, columns_).tile / columns_),
        selection_(1, task.elements, false),
        divergences_(static_cast<size_t>(task.elements / columns_)) {
    if (columns_ > kLongRow)
      throw Error(ErrorKind::unsupported,
                  "arcee_fusion of a row of " + std::to_string(columns_) + " values", task.tensor,
                  "rows of up to " + std::to_string(kLongRow));
    std::vector<RankCut> quarters;
    for (int64_t quarter = 1; quarter <= 3; ++quarter)
      quarters.push_back({.rank = quarter * (task.elements - 1) / 4});
    selection_.cut(quarters);
  }

  std::optional<PassSize> pass_size(int pass) const override {
    if (pass == 0) return PassSize{.sums = static_cast<size_t>(rows_of_tile_)};
    return selection_.pass_size(pass - 1);
  }

  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override {
    if (pass == 0) return diverge(chunk, partial.sums.data());
    std::vector<float> values(static_cast<size_t>(chunk.count));
    importances(chunk, values.data());
    selection_.reduce(pass - 1, 0, values, partial);
  }

  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override {
    if (pass == 0) {
      // Tiles are full of rows up to the last.
      for (size_t row = 0; row < divergences_.size(); ++row)
        divergences_[row] = static_cast<float>(std::max(0.0, sums[row]));
      return;
    }
    selection_.finish(pass - 1, sums, counts);
    if (selection_.pass_size(pass)) return;
    threshold_ = selection_.value(1) +
                 1.5 * (static_cast<double>(selection_.value(2)) - selection_.value(0));
  }

  void emit(const Chunk& chunk, float* __restrict out) const override {
    importances(chunk, out);
    const float* __restrict a = chunk.base;
    const float* __restrict b = chunk.inputs[0];
    for (int64_t k = 0; k < chunk.count; ++k) out[k] = out[k] >= threshold_ ? b[k] : a[k];
  }

 private:
  void diverge(const Chunk& chunk, double* sums) const {
    const auto width = static_cast<size_t>(columns_);
    std::vector<double> p(width), q(width);
    for (int64_t at = 0; at < chunk.count; at += columns_) {
      const double of_p = exponentials({chunk.inputs[0] + at, width}, p.data());
      const double of_q = exponentials({chunk.base + at, width}, q.data());
      double sum = 0;
      for (size_t k = 0; k < width; ++k) {
        const double share = p[k] / of_p + kFloor;
        sum += share * std::log(share / (q[k] / of_q + kFloor));
      }
      sums[(chunk.begin + at) / columns_ - chunk.tile * rows_of_tile_] = sum;
    }
  }

  void importances(const Chunk& chunk, float* __restrict out) const {
    for (int64_t at = 0; at < chunk.count; at += columns_) {
      const float divergence = divergences_[(chunk.begin + at) / columns_];
      const float* __restrict a = chunk.base + at;
      const float* __restrict b = chunk.inputs[0] + at;
      for (int64_t k = 0; k < columns_; ++k) out[at + k] = std::abs(b[k] - a[k]) * divergence;
    }
  }

  int64_t columns_, rows_of_tile_;
  Selection selection_;
  std::vector<float> divergences_;  // of each row
  double threshold_ = 0;
};

class ArceeFusionMethod : public MergeMethod {
 public:
  std::string summary() const override { return "The other model's most important values"; }
  std::string source() const override { return "arcee.ai"; }
  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required,
            .most = 1,
            .missing = MergeTraits::Missing::copy_single};
  }
  std::vector<MergeField> fields() const override { return {}; }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<ArceeFusionMerge>(task);
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_arcee_fusion_merge_method() {
  return std::make_unique<ArceeFusionMethod>();
}

}  // namespace smidgen
