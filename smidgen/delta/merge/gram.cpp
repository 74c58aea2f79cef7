#include "smidgen/delta/merge/gram.h"

#include <algorithm>
#include <cmath>

#include "smidgen/delta/merge/narrow.h"
#include "smidgen/delta/merge/tensor_engine.h"
#include "smidgen/delta/source.h"

namespace smidgen {

namespace {

constexpr int64_t kStretch = 512;                          // values of every vector stay in L1
constexpr int64_t kColumnSums = (int64_t{128} << 20) / 8;  // doubles that column sums may take

using Parts = std::span<const float* const>;

double product(const double* __restrict x, const double* __restrict y, int64_t count) {
  constexpr int64_t kLanes = 8;
  double lanes[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += x[k + j] * y[k + j];
  for (int64_t j = 0; k < count; ++k, ++j) lanes[j] += x[k] * y[k];
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
         ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

// out[k] = sum of share(p, k) parts[p][k], k in [begin, begin + count)
template <class Share>
void combine(Parts parts, int64_t begin, int64_t count, float* out, Share&& share) {
  double sum[kStretch];
  for (int64_t at = begin, end = begin + count; at < end; at += kStretch) {
    const int64_t n = std::min(kStretch, end - at);
    std::fill_n(sum, n, 0.0);
    for (size_t p = 0; p < parts.size(); ++p) {
      const float* __restrict x = parts[p] + at;
      for (int64_t k = 0; k < n; ++k) sum[k] += share(p, at + k) * x[k];
    }
    for (int64_t k = 0; k < n; ++k) out[at + k] = static_cast<float>(sum[k]);
  }
}

// The same in fp32, each product and each sum rounded.
template <class Share>
void combine_in_floats(Parts parts, int64_t begin, int64_t count, float* out, Share&& share) {
  for (int64_t k = begin; k < begin + count; ++k) {
    float sum = static_cast<float>(share(0)) * parts[0][k];
    for (size_t p = 1; p < parts.size(); ++p) sum += static_cast<float>(share(p)) * parts[p][k];
    out[k] = sum;
  }
}

// Calls visit(line, first, count) for the pieces of a chunk that lie in one vector of `length`.
template <class Visit>
void for_lines(const Chunk& chunk, int64_t length, Visit&& visit) {
  for (int64_t at = 0; at < chunk.count;) {
    const int64_t line = (chunk.begin + at) / length;
    const int64_t count = std::min(chunk.count - at, (line + 1) * length - (chunk.begin + at));
    visit(line, at, count);
    at += count;
  }
}

}  // namespace

double Gram::dot(size_t i, size_t j) const {
  if (i > j) std::swap(i, j);
  return products_[i * n_ - i * (i + 1) / 2 + j];
}

double Gram::norm(size_t i) const {
  return std::sqrt(dot(i, i));
}

double Gram::dot(size_t i, std::span<const double> weights) const {
  double sum = 0;
  for (size_t j = 0; j < n_; ++j) sum += weights[j] * dot(i, j);
  return sum;
}

double Gram::norm(std::span<const double> weights) const {
  double sum = 0;
  for (size_t i = 0; i < n_; ++i) sum += weights[i] * dot(i, weights);
  return std::sqrt(std::max(0.0, sum));
}

// A chunk's parts, and its vectors in double, a stretch at a time.
struct GramMerge::Lines {
  Lines(const GramMerge& merge, const Chunk& chunk)
      : differences(merge.plan_.vectors == GramPlan::Vectors::differences) {
    if (merge.parts_ > chunk.inputs.size()) parts.push_back(chunk.base);
    parts.insert(parts.end(), chunk.inputs.begin(), chunk.inputs.end());
    values.resize(merge.vectors_ * kStretch);
  }

  const double* vector(size_t i) const { return values.data() + i * kStretch; }

  void load(int64_t begin, int64_t count) {
    const size_t vectors = values.size() / kStretch;
    for (size_t i = 0; i < vectors; ++i) {
      double* __restrict v = values.data() + i * kStretch;
      const float* __restrict x = parts[differences ? i + 1 : i] + begin;
      const float* __restrict base = parts[0] + begin;
      if (differences) {
        for (int64_t k = 0; k < count; ++k) v[k] = static_cast<double>(x[k]) - base[k];
      } else {
        for (int64_t k = 0; k < count; ++k) v[k] = x[k];
      }
    }
  }

  void add_products(int64_t begin, int64_t count, double* products) {
    for (int64_t at = begin, end = begin + count; at < end; at += kStretch) {
      const int64_t n = std::min(kStretch, end - at);
      load(at, n);
      const size_t vectors = values.size() / kStretch;
      double* to = products;
      for (size_t i = 0; i < vectors; ++i)
        for (size_t j = i; j < vectors; ++j) *to++ += product(vector(i), vector(j), n);
    }
  }

  bool differences;
  std::vector<const float*> parts;
  std::vector<double> values;
};

GramMerge::GramMerge(const MergeTask& task, GramPlan plan, GramWeights weights)
    : plan_(plan), weights_(std::move(weights)) {
  using enum GramPlan::Vectors;
  vectors_ = task.inputs + (plan.vectors == base_and_models ? 1 : 0);
  parts_ = task.inputs + (plan.vectors == models ? 0 : 1);
  pairs_ = Gram::pairs(vectors_);
  const Cut cut = Cut::of(task.elements, task.columns);
  tile_ = cut.tile;
  const int64_t first = task.shape.empty() ? 1 : task.shape[0];
  length_ = std::max<int64_t>(1, task.elements);
  lines_ = slots_ = 1;
  stored_ = true;
  if (along_first() && task.elements > first) {
    length_ = lines_ = slots_ = task.elements / first;
    const auto all = static_cast<int64_t>(pairs_) * cut.tiles();
    block_ = std::clamp<int64_t>(kColumnSums / all, 1, lines_);
  } else if (plan.along == GramPlan::Along::last) {
    length_ = std::max<int64_t>(1, task.columns);
    lines_ = task.elements / length_;
    // A tile is no longer than a row that is cut.
    slots_ = std::min<int64_t>(2, lines_);
    stored_ = length_ > kLongRow;
  } else {
    plan_.along = GramPlan::Along::tensor;
  }
}

void GramMerge::weigh(std::span<const double> products, std::span<double> shares) const {
  const bool differences = plan_.vectors == GramPlan::Vectors::differences;
  const std::span<double> weights = shares.subspan(differences ? 1 : 0);
  weights_(Gram(vectors_, products), weights);
  if (!differences) return;
  shares[0] = 1;
  for (const double weight : weights) shares[0] -= weight;
}

std::optional<PassSize> GramMerge::pass_size(int pass) const {
  if (!stored_) return std::nullopt;
  if (!along_first())
    return pass == 0 ? std::optional(PassSize{.sums = static_cast<size_t>(slots_) * pairs_})
                     : std::nullopt;
  const int64_t begin = pass * block_;
  if (begin >= lines_) return std::nullopt;
  return PassSize{.sums = static_cast<size_t>(std::min(block_, lines_ - begin)) * pairs_};
}

void GramMerge::reduce(int pass, const Chunk& chunk, const Partial& partial) const {
  Lines lines(*this, chunk);
  if (along_first()) return reduce_columns(pass, lines, chunk, partial.sums.data());
  const int64_t first = chunk.tile * tile_ / length_;
  for_lines(chunk, length_, [&](int64_t line, int64_t at, int64_t count) {
    lines.add_products(at, count, partial.sums.data() + (line - first) * pairs_);
  });
}

void GramMerge::finish(int pass, std::span<const double> sums, std::span<const uint64_t>) {
  if (along_first()) return finish_columns(pass, sums);
  std::vector<double> products(static_cast<size_t>(lines_) * pairs_);
  const size_t of_tile = static_cast<size_t>(slots_) * pairs_;
  for (size_t tile = 0; tile * of_tile < sums.size(); ++tile) {
    const size_t to = (static_cast<int64_t>(tile) * tile_ / length_) * pairs_;
    // The last tile may touch fewer lines than it has room for.
    for (size_t i = 0; i < of_tile && to + i < products.size(); ++i)
      products[to + i] += sums[tile * of_tile + i];
  }
  shares_.resize(static_cast<size_t>(lines_) * parts_);
  for (int64_t line = 0; line < lines_; ++line)
    weigh({products.data() + line * pairs_, pairs_}, {shares_.data() + line * parts_, parts_});
}

void GramMerge::emit(const Chunk& chunk, float* out) const {
  Lines lines(*this, chunk);
  if (along_first()) {
    for_lines(chunk, length_, [&](int64_t line, int64_t at, int64_t count) {
      const int64_t column = chunk.begin - line * length_;
      const double* shares = shares_.data();
      combine(lines.parts, at, count, out,
              [&](size_t p, int64_t k) { return shares[p * lines_ + column + k]; });
    });
    return;
  }
  std::vector<double> products(pairs_), own(parts_);
  for_lines(chunk, length_, [&](int64_t line, int64_t at, int64_t count) {
    const double* shares = stored_ ? shares_.data() + line * parts_ : own.data();
    if (!stored_) {
      std::fill(products.begin(), products.end(), 0);
      lines.add_products(at, count, products.data());
      weigh(products, own);
    }
    if (!chunk.task->as_mergekit) {
      combine(lines.parts, at, count, out, [&](size_t p, int64_t) { return shares[p]; });
      return;
    }
    combine_in_floats(lines.parts, at, count, out, [&](size_t p) { return shares[p]; });
    narrow_values(chunk.task->arithmetic, {out + at, static_cast<size_t>(count)});
  });
}

// sums: [pairs, vectors of this pass]
void GramMerge::reduce_columns(int pass, Lines& lines, const Chunk& chunk, double* sums) const {
  const int64_t first = pass * block_, last = std::min(lines_, first + block_);
  for_lines(chunk, length_, [&](int64_t row, int64_t at, int64_t count) {
    const int64_t column = chunk.begin + at - row * length_;
    const int64_t end = std::min(column + count, last);
    for (int64_t from = std::max(column, first); from < end; from += kStretch) {
      const int64_t n = std::min(kStretch, end - from);
      lines.load(at + from - column, n);
      double* to = sums + (from - first);
      for (size_t i = 0; i < vectors_; ++i) {
        for (size_t j = i; j < vectors_; ++j, to += last - first) {
          const double *x = lines.vector(i), *y = lines.vector(j);
          for (int64_t k = 0; k < n; ++k) to[k] += x[k] * y[k];
        }
      }
    }
  });
}

void GramMerge::finish_columns(int pass, std::span<const double> sums) {
  const int64_t first = pass * block_, width = std::min(lines_, first + block_) - first;
  const size_t of_tile = static_cast<size_t>(width) * pairs_;
  std::vector<double> all(of_tile), products(pairs_), shares(parts_);
  for (size_t from = 0; from < sums.size(); from += of_tile)
    for (size_t i = 0; i < of_tile; ++i) all[i] += sums[from + i];
  shares_.resize(static_cast<size_t>(lines_) * parts_);
  for (int64_t column = 0; column < width; ++column) {
    for (size_t pair = 0; pair < pairs_; ++pair) products[pair] = all[pair * width + column];
    weigh(products, shares);
    for (size_t p = 0; p < parts_; ++p) shares_[p * lines_ + first + column] = shares[p];
  }
}

}  // namespace smidgen
