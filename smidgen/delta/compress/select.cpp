#include "smidgen/delta/compress/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <tuple>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/magnitude.h"

namespace smidgen {

namespace {

// A piece in its own format and in fp32 fits the second-level cache.
constexpr int64_t kPiece = 1 << 15;
// Bits of a magnitude order like the magnitude.
constexpr uint32_t kInfinite = 0x7f800000;

uint32_t magnitude(float value) {
  return std::bit_cast<uint32_t>(value) & 0x7fffffff;
}

// Of a thread: asking for memory anew costs as much as reading a piece.
std::vector<float>& own_buffer() {
  static thread_local std::vector<float> buffer;
  return buffer;
}

// The k-th largest of values in [low, high), and how many are larger.
std::pair<uint32_t, int64_t> kth_largest(const std::vector<uint32_t>& values, int64_t k,
                                         uint32_t low, uint32_t high) {
  constexpr uint32_t kBins = 4096;
  const uint32_t width = (high - low - 1) / kBins + 1;
  std::vector<int64_t> bins(kBins);
  for (const uint32_t value : values) ++bins[(value - low) / width];
  int64_t above = 0;
  uint32_t bin = kBins - 1;
  for (; bin > 0 && above + bins[bin] < k; --bin) above += bins[bin];
  std::vector<uint32_t> some;
  for (const uint32_t value : values) {
    if ((value - low) / width == bin) some.push_back(value);
  }
  const auto at = some.begin() + (k - above - 1);
  std::nth_element(some.begin(), at, some.end(), std::greater<>());
  const uint32_t found = *at;
  above += std::count_if(some.begin(), some.end(), [&](uint32_t value) { return value > found; });
  return {found, above};
}

// What one pass over the vector finds in [low, high).
struct Count {
  int64_t above = 0, inside = 0;  // at least high; inside
  std::vector<uint32_t> values;   // those inside, unless they were too many
  bool complete = true;
};

class Search {
 public:
  explicit Search(const FlatVector& vector)
      : vector_(vector),
        pieces_(vector.pieces(kPiece)),
        sums_(pieces_.size()),
        // Rarely reached: the sample is wrong, or many values are equal.
        room_(vector.elements() / 16 + (1 << 18)) {
    std::vector<float> first(1);
    vector.read({0, 0, 1}, first);
    // A value of the vector: sums of differences from it are exact where all values are equal.
    shift_ = std::isfinite(first[0]) ? first[0] : 0.0f;
  }

  // Where the k-th largest magnitude most likely lies, from a sample.
  std::pair<uint32_t, uint32_t> guess(int64_t k) const {
    constexpr int64_t kRuns = 4096, kRun = 64;
    std::vector<uint32_t> sample;
    const int64_t d = vector_.elements();
    if (d <= 2 * kRuns * kRun) return {0, kInfinite};
    sample.reserve(kRuns * kRun);
    const auto count = static_cast<int64_t>(pieces_.size());
    for (int64_t i = 0; i < kRuns; ++i) {
      FlatPiece piece = pieces_[static_cast<size_t>(i * count / kRuns)];
      // Not always the beginning of a piece.
      piece.begin += i * 7919 % std::max<int64_t>(1, piece.count - kRun);
      piece.count = std::min(kRun, vector_.tensors[piece.tensor].elements() - piece.begin);
      // What is no number is found by the pass over all.
      for (const float value : vector_.values(piece, own_buffer()))
        sample.push_back(std::min(magnitude(value), kInfinite - 1));
    }
    const auto n = static_cast<double>(sample.size());
    const double rank = n * static_cast<double>(k) / static_cast<double>(d);
    // Four standard deviations, doubled because neighbours are alike; a miss costs a pass.
    const double margin = 8 * std::sqrt(rank * (1 - rank / n)) + 32;
    const auto at = [&](double from_above) {
      const auto wanted = static_cast<int64_t>(std::clamp(from_above, 1.0, n));
      return kth_largest(sample, wanted, 0, kInfinite).first;
    };
    const uint32_t low = rank + margin >= n ? 0 : at(rank + margin);
    const uint32_t high = rank <= margin ? kInfinite : at(rank - margin) + 1;
    return {low, std::max(high, low + 1)};
  }

  Count count(uint32_t low, uint32_t high) {
    std::vector<Count> parts(pieces_.size());
    std::mutex mutex;
    int64_t held = 0;
    parallel_claims(static_cast<int64_t>(pieces_.size()), 1, 16, [&](int64_t begin, int64_t end) {
      static thread_local std::vector<uint32_t> found(kPiece + 16);
      for (int64_t p = begin; p < end; ++p) {
        const auto i = static_cast<size_t>(p);
        const std::span<const float> values = vector_.values(pieces_[i], own_buffer());
        const MagnitudeCount here =
            count_magnitudes(pieces_[i].count, values.data(), shift_, low, high, found.data());
        sums_[i] = {here.sum, here.squares};
        check(sums_[i], i);
        parts[i].above = here.above;
        parts[i].inside = here.inside;
        const std::lock_guard lock(mutex);
        held += parts[i].inside;
        if (held <= room_) parts[i].values.assign(found.begin(), found.begin() + here.inside);
      }
    });
    Count all;
    for (Count& part : parts) {
      all.above += part.above;
      all.inside += part.inside;
    }
    all.complete = all.inside <= room_;
    if (!all.complete) return all;
    for (const Count& part : parts)
      all.values.insert(all.values.end(), part.values.begin(), part.values.end());
    return all;
  }

  // The part of [low, high) that the k-th largest lies in, `above` being at least high.
  std::pair<uint32_t, uint32_t> narrow(uint32_t low, uint32_t high, int64_t above,
                                       int64_t k) const {
    constexpr uint32_t kBins = 4096;
    const uint32_t width = (high - low + kBins - 1) / kBins;
    std::vector<int64_t> bins(kBins);
    std::mutex mutex;
    parallel_claims(static_cast<int64_t>(pieces_.size()), 1, 16, [&](int64_t begin, int64_t end) {
      std::vector<int64_t> own(kBins);
      for (int64_t p = begin; p < end; ++p) {
        for (const float value : vector_.values(pieces_[static_cast<size_t>(p)], own_buffer())) {
          const uint32_t bits = magnitude(value);
          if (bits >= low && bits < high) ++own[(bits - low) / width];
        }
      }
      const std::lock_guard lock(mutex);
      for (size_t i = 0; i < kBins; ++i) bins[i] += own[i];
    });
    for (uint32_t i = kBins; i-- > 0;) {
      above += bins[i];
      if (above >= k)
        return {low + i * width, std::min<uint64_t>(high, low + uint64_t{i + 1} * width)};
    }
    SMIDGEN_ASSERT(!"the range holds the k-th largest");
    return {};
  }

  Moments moments() const {
    Moments m;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < sums_.size(); ++i) {
      m.count += pieces_[i].count;
      sum += sums_[i].sum;
      squares += sums_[i].squares;
    }
    const auto n = static_cast<double>(m.count), shift = static_cast<double>(shift_);
    m.mean = shift + sum / n;
    if (m.count > 1) m.deviation = std::sqrt(std::max(0.0, squares - sum * sum / n) / (n - 1));
    m.norm = std::sqrt(std::max(0.0, squares + shift * (2 * sum + shift * n)));
    return m;
  }

 private:
  struct Sums {  // of x - shift and of its square
    double sum = 0, squares = 0;
  };

  void check(const Sums& total, size_t piece) const {
    if (std::isfinite(total.squares)) return;
    // A double holds the square of any float.
    throw Error(ErrorKind::data, "a difference is not a finite number",
                str("tensor '", vector_.tensors[pieces_[piece].tensor].name, "'"),
                "the training diverged, or the file is damaged");
  }

  const FlatVector& vector_;
  std::vector<FlatPiece> pieces_;
  std::vector<Sums> sums_;  // of each piece, added up in order
  int64_t room_;
  float shift_ = 0;
};

}  // namespace

Selection select_largest(const FlatVector& vector, int64_t k, bool reference) {
  const int64_t d = vector.elements();
  SMIDGEN_ASSERT(d > 0 && k >= 0 && k <= d);
  // The reference's threshold is kept too.
  const int64_t rank = reference ? std::min(d, k + 1) : k;
  Search search(vector);
  uint32_t low = 0, high = kInfinite;
  if (rank > 0 && rank < d) std::tie(low, high) = search.guess(rank);
  // Nothing to look for, but the moments.
  if (rank == 0 || rank == d) low = kInfinite;
  Count found = search.count(low, high);
  Selection selection{search.moments(), {}};
  if (rank == 0) {
    selection.cut = {std::bit_cast<float>(kInfinite), 0};
    return selection;
  }
  if (rank == d) {
    selection.cut = {0, d};
    return selection;
  }
  uint32_t bits = 0;
  for (;;) {
    if (rank <= found.above) {
      low = std::exchange(high, kInfinite);
    } else if (rank > found.above + found.inside) {
      high = std::exchange(low, 0);
    } else if (high - low == 1) {
      bits = low;
      break;
    } else if (found.complete) {
      const auto [value, larger] = kth_largest(found.values, rank - found.above, low, high);
      bits = value;
      found.above += larger;
      break;
    } else {
      std::tie(low, high) = search.narrow(low, high, found.above, rank);
    }
    found = search.count(low, high);
  }
  selection.cut = {std::bit_cast<float>(bits), reference ? d : rank - found.above};
  return selection;
}

}  // namespace smidgen
