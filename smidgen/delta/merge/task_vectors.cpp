#include "smidgen/delta/merge/task_vectors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "smidgen/delta/merge/narrow.h"
#include "smidgen/delta/merge/sparsifiers.h"
#include "smidgen/delta/merge/task_vectors_narrow.h"

namespace smidgen {

namespace {

using Keep = TaskVectorKind::Keep;

constexpr int64_t kPiece = 1024;  // elements whose values of all inputs stay in the first cache
constexpr double kLeastNorm = 1e-7;
constexpr double kLeastDivisor = 1e-8;

std::unique_ptr<Sparsifier> sparsifier(Keep keep, const MergeTask& task) {
  switch (keep) {
    case Keep::largest:
      return keep_largest(task);
    case Keep::below_outliers:
      return keep_below_outliers(task);
    case Keep::at_random:
      return keep_at_random(task);
    case Keep::by_row_rank:
      return keep_by_row_rank(task);
    case Keep::everything:
      break;
  }
  return nullptr;
}

void require_numbers(const MergeTask& task) {
  const auto require = [&](const auto& values, const std::string& whose) {
    for (const auto& [name, value] : values) {
      if (!std::isfinite(value))
        throw Error(ErrorKind::usage, str(name, whose, " is ", value), task.tensor);
    }
  };
  require(task.shared, "");
  for (size_t i = 0; i < task.inputs; ++i) require(task.by_input[i], str(" of model ", i + 1));
}

void scale(const float* __restrict x, float factor, int64_t count, float* __restrict out) {
  for (int64_t k = 0; k < count; ++k) out[k] = factor * x[k];
}

void scale_kept(const float* __restrict x, const uint32_t* __restrict mask, float factor,
                int64_t count, float* __restrict out) {
  // Bits, not a condition: masks are as good as random, and a branch on them is guessed wrong.
  for (int64_t k = 0; k < count; ++k)
    out[k] = std::bit_cast<float>(std::bit_cast<uint32_t>(factor * x[k]) & mask[k]);
}

void add(const float* __restrict x, int64_t count, float* __restrict sum) {
  for (int64_t k = 0; k < count; ++k) sum[k] += x[k];
}

// What has the sign of `total`, and its weight.
void add_agreeing(const float* __restrict x, const float* __restrict total, float weight,
                  int64_t count, float* __restrict sum, float* __restrict divisor) {
  for (int64_t k = 0; k < count; ++k) {
    const bool agrees = (total[k] >= 0 ? x[k] : -x[k]) > 0;
    sum[k] += agrees ? x[k] : 0;
    divisor[k] += agrees ? weight : 0;
  }
}

// Sums of |x| and of |x| over the mask, in lanes so that they do not wait for each other.
struct Norms {
  double all = 0, kept = 0;
};
Norms norms(const float* __restrict x, const uint32_t* __restrict mask, int64_t count) {
  constexpr int64_t kLanes = 16;
  std::array<double, kLanes> all{}, kept{};
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double size = std::fabs(x[k + lane]);
      all[lane] += size;
      kept[lane] += mask[k + lane] ? size : 0;
    }
  }
  for (; k < count; ++k) {
    all[0] += std::fabs(x[k]);
    kept[0] += mask[k] ? std::fabs(x[k]) : 0;
  }
  Norms sums;
  for (const double sum : all) sums.all += sum;
  for (const double sum : kept) sums.kept += sum;
  return sums;
}

class TaskVectorMerge : public TensorMerge {
 public:
  TaskVectorMerge(const TaskVectorKind& kind, const MergeTask& task)
      : consensus_(kind.consensus),
        normalize_(task.flag("normalize")),
        lambda_(static_cast<float>(task.value("lambda"))) {
    require_numbers(task);
    double sum = 0;
    bool thin = false;
    for (size_t i = 0; i < task.inputs; ++i) {
      const double weight = task.value(i, "weight");
      sum += weight;
      Input& input = inputs_.emplace_back();
      input.weight = input.factor = static_cast<float>(weight);
      if (kind.keep == Keep::everything) continue;
      input.thin = thinned(task, i);
      input.dropped = !input.thin && task.value(i, "density") <= 0;
      thin = thin || input.thin;
    }
    if (std::abs(sum) >= kLeastDivisor) divisor_ = static_cast<float>(sum);
    if (!thin) return;
    sparsifier_ = sparsifier(kind.keep, task);
    measure_ = task.flag("rescale");
  }

  std::optional<PassSize> pass_size(int pass) const override {
    if (auto size = sparsifier_ ? sparsifier_->pass_size(pass) : std::nullopt) return size;
    if (measure_) return PassSize{.sums = 2 * inputs_.size()};
    return std::nullopt;
  }

  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override {
    if (sparsifier_->pass_size(pass)) return sparsifier_->reduce(pass, chunk, partial);
    std::vector<uint32_t> mask(static_cast<size_t>(piece(chunk)));
    for_pieces(chunk, [&](int64_t at, int64_t count) {
      for (size_t i = 0; i < inputs_.size(); ++i) {
        if (!inputs_[i].thin) continue;
        sparsifier_->keep(chunk, i, at, {mask.data(), static_cast<size_t>(count)});
        const Norms sums = norms(chunk.deltas[i] + at, mask.data(), count);
        partial.sums[2 * i] += sums.all;
        partial.sums[2 * i + 1] += sums.kept;
      }
    });
  }

  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override {
    if (sparsifier_->pass_size(pass)) return sparsifier_->finish(pass, sums, counts);
    measure_ = false;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      Norms total;
      for (size_t at = 2 * i; at < sums.size(); at += 2 * inputs_.size()) {
        total.all += sums[at];
        total.kept += sums[at + 1];
      }
      if (total.all < kLeastNorm || total.kept < kLeastNorm) continue;
      inputs_[i].factor = static_cast<float>(inputs_[i].weight * (total.all / total.kept));
    }
  }

  size_t cursors() const override { return sparsifier_ ? sparsifier_->cursors() : 0; }

  void emit(const Chunk& chunk, float* out) const override {
    const size_t room = static_cast<size_t>(piece(chunk));
    std::vector<float> values((inputs_.size() + 3) * room);
    std::vector<uint32_t> mask(sparsifier_ ? room : 0);
    float *sum = values.data() + inputs_.size() * room, *total = sum + room,
          *divisor = total + room;
    for_pieces(chunk, [&](int64_t at, int64_t count) {
      float* together = consensus_ ? total : sum;
      std::fill_n(together, count, 0.0f);
      for (size_t i = 0; i < inputs_.size(); ++i) {
        const Input& input = inputs_[i];
        if (input.dropped) continue;
        float* y = values.data() + i * room;
        const float* delta = chunk.deltas[i] + at;
        if (input.thin) {
          sparsifier_->keep(chunk, i, at, {mask.data(), static_cast<size_t>(count)});
          scale_kept(delta, mask.data(), input.factor, count, y);
        } else {
          scale(delta, input.factor, count, y);
        }
        add(y, count, together);
      }
      if (consensus_) {
        std::fill_n(sum, count, 0.0f);
        std::fill_n(divisor, count, 0.0f);
        for (size_t i = 0; i < inputs_.size(); ++i) {
          if (inputs_[i].dropped) continue;
          add_agreeing(values.data() + i * room, total, inputs_[i].weight, count, sum, divisor);
        }
      }
      if (normalize_ && consensus_) {
        for (int64_t k = 0; k < count; ++k) sum[k] /= divisor[k] == 0 ? 1 : divisor[k];
      } else if (normalize_) {
        for (int64_t k = 0; k < count; ++k) sum[k] /= divisor_;
      }
      const float* base = chunk.base + at;
      for (int64_t k = 0; k < count; ++k) out[at + k] = base[k] + lambda_ * sum[k];
    });
  }

 private:
  struct Input {
    float weight = 0;
    float factor = 0;  // weight times the rescaling
    bool thin = false, dropped = false;
  };

  int64_t piece(const Chunk& chunk) const {
    return sparsifier_ && sparsifier_->whole_chunks() ? chunk.count : kPiece;
  }

  template <class Visit>
  void for_pieces(const Chunk& chunk, Visit&& visit) const {
    const int64_t step = piece(chunk);
    for (int64_t at = 0; at < chunk.count; at += step) visit(at, std::min(step, chunk.count - at));
  }

  bool consensus_, normalize_;
  float lambda_;
  float divisor_ = 1;
  std::vector<Input> inputs_;
  std::unique_ptr<Sparsifier> sparsifier_;  // null where nothing is thinned
  bool measure_ = false;                    // norms are still to be summed
};

class TaskVectorMethod : public MergeMethod {
 public:
  explicit TaskVectorMethod(TaskVectorKind kind) : kind_(std::move(kind)) {}

  std::string summary() const override { return kind_.summary; }
  std::string source() const override { return kind_.source; }

  MergeTraits traits() const override {
    return {.base = MergeTraits::Base::required,
            .deltas = true,
            .random = kind_.keep == Keep::at_random || kind_.keep == Keep::by_row_rank,
            .narrow = true};
  }

  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    const bool thins = kind_.keep != Keep::everything;
    std::vector<MergeField> all = {
        {"weight", number, other, std::nullopt, "Factor of the task vector"},
        {"density", number, other, 1,
         thins ? "Share of the task vector's values to keep"
               : "Accepted as mergekit does; this method keeps all values"}};
    if (kind_.keep == Keep::below_outliers)
      all.push_back({"gamma", number, other, 0.01, "Share of the largest values to leave out"});
    if (kind_.keep == Keep::by_row_rank)
      all.push_back({"epsilon", number, other, 0.15,
                     "How far the probability of the smallest and largest value of a row is from "
                     "density"});
    all.push_back({"normalize", flag, shared, kind_.normalize ? 1.0 : 0.0,
                   kind_.consensus ? "Divide each value by the weights of the models that agree"
                                   : "Divide by the sum of the weights"});
    all.push_back({"rescale", flag, shared, kind_.rescale ? 1.0 : 0.0,
                   thins ? "Scale what is kept to the sum of magnitudes that the whole had"
                         : "Accepted as mergekit does; nothing is left out here"});
    all.push_back({"lambda", number, shared, 1, "Factor of what is added to the base"});
    all.push_back({"int8_mask", flag, shared, 0,
                   "Accepted as mergekit does; changes nothing, as no mask is kept"});
    return all;
  }

  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    const bool follows = is_narrow(task.arithmetic) || !thins_at_random(task);
    if (task.as_mergekit && follows) return merge_narrow_task_vectors(kind_, task);
    return std::make_unique<TaskVectorMerge>(kind_, task);
  }

  // One task vector that is whole and has the factor 1, or none at all.
  std::optional<size_t> same_as(const MergeTask& task) const override {
    const double lambda = task.value("lambda");
    std::optional<size_t> only;
    for (size_t i = 0; i < task.inputs; ++i) {
      const double density = kind_.keep == Keep::everything ? 1 : task.value(i, "density");
      if (task.value(i, "weight") == 0 || density <= 0 || lambda == 0) continue;
      if (only || density < 1) return std::nullopt;
      only = i;
    }
    if (!only) return task.inputs;
    const double weight = task.value(*only, "weight");
    // Dividing by what weighs nothing is left out.
    const bool divides = task.flag("normalize") && std::abs(weight) >= kLeastDivisor;
    const bool whole = (divides ? lambda : weight * lambda) == 1;
    return whole ? only : std::nullopt;
  }

 private:
  bool thins_at_random(const MergeTask& task) const {
    if (!traits().random) return false;
    for (size_t i = 0; i < task.inputs; ++i) {
      if (thinned(task, i)) return true;
    }
    return false;
  }

  TaskVectorKind kind_;
};

}  // namespace

std::unique_ptr<const MergeMethod> make_task_vector_method(TaskVectorKind kind) {
  return std::make_unique<TaskVectorMethod>(std::move(kind));
}

}  // namespace smidgen
