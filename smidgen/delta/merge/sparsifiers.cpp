#include "smidgen/delta/merge/sparsifiers.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "smidgen/delta/merge/row_ranks.h"
#include "smidgen/delta/merge/selection.h"
#include "smidgen/delta/source.h"
#include "smidgen/kernels/random_words.h"

namespace smidgen {

std::optional<PassSize> Sparsifier::pass_size(int) const {
  return std::nullopt;
}

void Sparsifier::reduce(int, const Chunk&, const Partial&) const {
  SMIDGEN_ASSERT(!"a sparsifier with passes reduces");
}

void Sparsifier::finish(int, std::span<const double>, std::span<const uint64_t>) {
  SMIDGEN_ASSERT(!"a sparsifier with passes finishes them");
}

namespace {

constexpr size_t kPiece = 1024;

std::span<const float> magnitudes(const float* delta, size_t count,
                                  std::array<float, kPiece>& room) {
  for (size_t k = 0; k < count; ++k) room[k] = std::fabs(delta[k]);
  return {room.data(), count};
}

int64_t part(const MergeTask& task, double share) {
  return static_cast<int64_t>(share * static_cast<double>(task.elements));
}

// The ranks [first, last) of the magnitudes of each input.
class RankWindows : public Sparsifier {
 public:
  struct Window {
    int64_t first, last;
  };
  template <class WindowOf>
  RankWindows(const MergeTask& task, RankCut::Order order, WindowOf&& window_of)
      : selection_(task.inputs, task.elements, true), ends_(task.inputs), starts_(task.inputs) {
    std::vector<RankCut> cuts;
    for (size_t i = 0; i < task.inputs; ++i) {
      if (!thinned(task, i)) continue;
      const Window window = window_of(i);
      ends_[i] = cuts.size();
      cuts.push_back({.row = i, .rank = window.last, .order = order});
      if (window.first == 0) continue;
      starts_[i] = cuts.size();
      cuts.push_back({.row = i, .rank = window.first, .order = order});
    }
    selection_.cut(std::move(cuts));
  }

  std::optional<PassSize> pass_size(int pass) const override { return selection_.pass_size(pass); }

  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override {
    std::array<float, kPiece> room;
    for (size_t i = 0; i < ends_.size(); ++i) {
      if (!ends_[i]) continue;
      for (int64_t at = 0; at < chunk.count; at += kPiece) {
        const size_t count = std::min<size_t>(kPiece, static_cast<size_t>(chunk.count - at));
        selection_.reduce(pass, i, magnitudes(chunk.deltas[i] + at, count, room), partial);
      }
    }
  }

  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override {
    selection_.finish(pass, sums, counts);
  }

  size_t cursors() const override { return selection_.cursors(); }

  void keep(const Chunk& chunk, size_t input, int64_t at, std::span<uint32_t> mask) const override {
    std::array<float, kPiece> room;
    std::array<uint32_t, kPiece> before;
    for (size_t done = 0; done < mask.size(); done += kPiece) {
      const size_t count = std::min(kPiece, mask.size() - done);
      const auto values = magnitudes(chunk.deltas[input] + at + done, count, room);
      uint32_t* out = mask.data() + done;
      selection_.mask(*ends_[input], values, chunk.tile, chunk.cursors, out);
      if (!starts_[input]) continue;
      selection_.mask(*starts_[input], values, chunk.tile, chunk.cursors, before.data());
      for (size_t k = 0; k < count; ++k) out[k] &= ~before[k];
    }
  }

 private:
  Selection selection_;
  std::vector<std::optional<size_t>> ends_, starts_;  // of each input: its cuts
};

// Random numbers of the elements of one input. A word below p 2^32 has the probability p.
class Draws {
 public:
  explicit Draws(const MergeTask& task) {
    for (size_t i = 0; i < task.inputs; ++i)
      streams_.emplace_back(Rng(task.seed, "merge mask", i, task.tensor));
  }
  void draw(const Chunk& chunk, size_t input, int64_t at, std::span<uint32_t> out) const {
    streams_[input].fill(static_cast<uint64_t>(chunk.begin + at), out);
  }

 private:
  std::vector<RandomWords> streams_;
};

constexpr double kWords = 0x1p32;

class AtRandom : public Sparsifier {
 public:
  explicit AtRandom(const MergeTask& task) : draws_(task) {
    for (size_t i = 0; i < task.inputs; ++i) {
      const double p = thinned(task, i) ? task.value(i, "density") : 0;
      bounds_.push_back(static_cast<uint32_t>(p * kWords));
    }
  }

  void keep(const Chunk& chunk, size_t input, int64_t at, std::span<uint32_t> mask) const override {
    draws_.draw(chunk, input, at, mask);
    const uint32_t bound = bounds_[input];
    for (uint32_t& word : mask) word = word < bound ? ~0u : 0u;
  }

 private:
  Draws draws_;
  std::vector<uint32_t> bounds_;
};

class ByRowRank : public Sparsifier {
 public:
  explicit ByRowRank(const MergeTask& task) : draws_(task), ranges_(task.inputs) {
    for (size_t i = 0; i < task.inputs; ++i) {
      if (!thinned(task, i)) continue;
      const double p = task.value(i, "density"), epsilon = task.value(i, "epsilon");
      if (p - std::abs(epsilon) <= 0 || p + std::abs(epsilon) >= 1)
        throw Error(
            ErrorKind::usage,
            str("density ", p, " and epsilon ", epsilon, " of model ", i + 1,
                " give probabilities from ", p - std::abs(epsilon), " to ", p + std::abs(epsilon)),
            task.tensor, "density +- epsilon must lie between 0 and 1");
      if (task.columns > kLongRow)
        throw Error(ErrorKind::unsupported,
                    str("rows are ranked as a whole, and those of this tensor have ", task.columns,
                        " values, more than ", kLongRow),
                    task.tensor, "density: 1 for this tensor, or dare_ties or dare_linear");
      ranges_[i] = {.low = p - epsilon, .width = 2 * epsilon};
    }
  }

  bool whole_chunks() const override { return true; }

  void keep(const Chunk& chunk, size_t input, int64_t at, std::span<uint32_t> mask) const override {
    draws_.draw(chunk, input, at, mask);
    const size_t columns = static_cast<size_t>(chunk.task->columns);
    const double steps = static_cast<double>(columns) - 1;
    const Range range = ranges_[input];
    const double low = (range.low + (steps == 0 ? range.width / 2 : 0)) * kWords;
    const double step = steps == 0 ? 0 : range.width / steps * kWords;
    RowRanks ranks(columns);
    for (size_t row = 0; row < mask.size(); row += columns) {
      const std::span<const uint32_t> rank = ranks.of(chunk.deltas[input] + at + row);
      uint32_t* words = mask.data() + row;
      for (size_t k = 0; k < columns; ++k) words[k] = words[k] < low + step * rank[k] ? ~0u : 0u;
    }
  }

 private:
  struct Range {
    double low, width;
  };
  Draws draws_;
  std::vector<Range> ranges_;
};

}  // namespace

std::unique_ptr<Sparsifier> keep_largest(const MergeTask& task) {
  return std::make_unique<RankWindows>(task, RankCut::Order::descending, [&](size_t i) {
    return RankWindows::Window{0, std::max<int64_t>(1, part(task, task.value(i, "density")))};
  });
}

std::unique_ptr<Sparsifier> keep_below_outliers(const MergeTask& task) {
  return std::make_unique<RankWindows>(task, RankCut::Order::ascending, [&](size_t i) {
    const double gamma = task.value(i, "gamma");
    if (!(gamma >= 0 && gamma <= 1))
      throw Error(ErrorKind::usage, str("gamma ", gamma, " of model ", i + 1, " is no share"),
                  task.tensor, "gamma is the share of the largest values to leave out, 0 to 1");
    const int64_t kept = part(task, task.value(i, "density"));
    const int64_t first = std::max<int64_t>(0, task.elements - kept - part(task, gamma));
    return RankWindows::Window{first, first + kept};
  });
}

std::unique_ptr<Sparsifier> keep_at_random(const MergeTask& task) {
  return std::make_unique<AtRandom>(task);
}

std::unique_ptr<Sparsifier> keep_by_row_rank(const MergeTask& task) {
  return std::make_unique<ByRowRank>(task);
}

}  // namespace smidgen
