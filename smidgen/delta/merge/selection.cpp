#include "smidgen/delta/merge/selection.h"

#include <algorithm>
#include <array>
#include <bit>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// Below this a table of 2^16 counters costs more than reading the row twice as often.
constexpr int64_t kShort = int64_t{1} << 18;

// Signed integers in the order of the values. Adding zero turns -0 into 0.
int32_t ordered(float value) {
  const int32_t bits = std::bit_cast<int32_t>(value + 0.0f);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

// The same as unsigned ones, whose digits can be counted.
uint32_t key_of(float value) {
  return static_cast<uint32_t>(ordered(value)) ^ 0x80000000u;
}

float value_of(uint32_t key) {
  const int32_t o = static_cast<int32_t>(key ^ 0x80000000u);
  return std::bit_cast<float>(o ^ ((o >> 31) & 0x7fffffff));
}

// Calls visit(keys) for piece after piece: keys come in vectors, what is done with them does not.
template <class Visit>
void for_keys(std::span<const float> values, int shift, Visit&& visit) {
  std::array<uint32_t, 256> keys;
  for (size_t at = 0; at < values.size(); at += keys.size()) {
    const size_t n = std::min(keys.size(), values.size() - at);
    const float* __restrict from = values.data() + at;
    for (size_t k = 0; k < n; ++k) keys[k] = key_of(from[k]) >> shift;
    visit(std::span(keys).first(n));
  }
}

void count_first(std::span<const float> values, int shift, uint32_t* __restrict counts) {
  for_keys(values, shift, [&](std::span<const uint32_t> keys) {
    for (const uint32_t key : keys) ++counts[key];
  });
}

// Of the values whose key begins with `prefix`: how often each next digit occurs.
void count_next(std::span<const float> values, uint32_t prefix, int shift, int bits,
                uint32_t* __restrict counts) {
  const uint32_t digit = (1u << bits) - 1;
  for_keys(values, shift, [&](std::span<const uint32_t> keys) {
    for (const uint32_t key : keys) {
      if (key >> bits == prefix) ++counts[key & digit];
    }
  });
}

int64_t count_equal(std::span<const float> values, float wanted) {
  int32_t equal = 0;
  for (const float value : values) equal += value == wanted;
  return equal;
}

// Where the cut takes none of the values at its rank, or with `ties` all of them.
template <bool kTies, bool kDescending>
void compare(std::span<const float> values, int32_t wanted, uint32_t* __restrict out) {
  const float* __restrict from = values.data();
  const int64_t count = static_cast<int64_t>(values.size());
  for (int64_t k = 0; k < count; ++k) {
    const int32_t o = ordered(from[k]);
    const bool before =
        kDescending ? (kTies ? o >= wanted : o > wanted) : (kTies ? o <= wanted : o < wanted);
    out[k] = before ? ~0u : 0u;
  }
}

void compare(std::span<const float> values, float wanted, bool ties, RankCut::Order order,
             uint32_t* out) {
  const int32_t o = ordered(wanted);
  if (order == RankCut::Order::descending)
    ties ? compare<true, true>(values, o, out) : compare<false, true>(values, o, out);
  else
    ties ? compare<true, false>(values, o, out) : compare<false, false>(values, o, out);
}

}  // namespace

Selection::Selection(size_t rows, int64_t elements, bool masks)
    : rows_(rows), elements_(elements), masks_(masks), bits_(elements > kShort ? 16 : 8) {}

void Selection::cut(std::vector<RankCut> cuts) {
  cuts_.clear();
  for (const RankCut& cut : cuts) {
    SMIDGEN_ASSERT(cut.row < rows_);
    Found& found = cuts_.emplace_back();
    found.cut = cut;
    found.all = cut.rank >= elements_;
    found.left = std::clamp<int64_t>(cut.rank, 0, std::max<int64_t>(0, elements_ - 1));
  }
}

std::optional<PassSize> Selection::pass_size(int pass) const {
  if (pass > digits() || (pass == digits() && !tie_pass_)) return std::nullopt;
  if (pass == digits()) return PassSize{.sums = cuts_.size()};
  const size_t streams = pass == 0 ? rows_ : cuts_.size();
  return PassSize{.sums = counts_ties(pass) ? cuts_.size() : 0, .counts = streams << bits_};
}

void Selection::reduce(int pass, size_t row, std::span<const float> values,
                       const Partial& partial) const {
  const int shift = 32 - (pass + 1) * bits_;
  if (pass == 0) return count_first(values, shift, partial.counts.data() + (row << bits_));
  for (size_t i = 0; i < cuts_.size(); ++i) {
    const Found& found = cuts_[i];
    if (found.cut.row != row) continue;
    if (pass == digits()) {
      if (found.left > 0)
        partial.sums[i] += static_cast<double>(count_equal(values, value_of(found.key)));
      continue;
    }
    count_next(values, found.key, shift, bits_, partial.counts.data() + (i << bits_));
    // Differences of numbers with few bits have few bits: their last digit is zero, and so is that
    // of most values that a cut goes through. Counting those now saves the pass over ties.
    if (counts_ties(pass))
      partial.sums[i] += static_cast<double>(count_equal(values, value_of(found.key << bits_)));
  }
}

void Selection::finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) {
  const size_t width = cuts_.size();
  const auto take_ties = [&](size_t i) {
    Found& found = cuts_[i];
    int64_t before = 0;
    for (size_t at = i; at < sums.size(); at += width) {
      found.ties.push_back(before);
      before += static_cast<int64_t>(sums[at]);
    }
    found.ties.push_back(before);
  };
  for (size_t i = 0; i < width; ++i) {
    Found& found = cuts_[i];
    if (pass == digits()) {
      if (found.left > 0 && found.ties.empty()) take_ties(i);
      continue;
    }
    const uint64_t* row = counts.data() + ((pass == 0 ? found.cut.row : i) << bits_);
    const uint32_t last = (1u << bits_) - 1;
    const uint32_t flip = found.cut.order == RankCut::Order::descending ? last : 0;
    uint32_t digit = 0;
    while (digit < last && found.left >= static_cast<int64_t>(row[digit ^ flip]))
      found.left -= static_cast<int64_t>(row[digit++ ^ flip]);
    digit ^= flip;
    found.key = found.key << bits_ | digit;
    if (!counts_ties(pass) || found.all || found.left == 0) continue;
    if (digit == 0)
      take_ties(i);
    else
      tie_pass_ = true;
  }
}

float Selection::value(size_t cut) const {
  return value_of(cuts_.at(cut).key);
}

void Selection::mask(size_t cut, std::span<const float> values, int64_t tile,
                     std::span<int64_t> cursors, uint32_t* out) const {
  const Found& found = cuts_[cut];
  if (found.all) {
    std::fill_n(out, values.size(), ~0u);
    return;
  }
  const float wanted = value_of(found.key);
  if (found.left == 0) return compare(values, wanted, false, found.cut.order, out);
  // Of the values at the rank a tile takes the first `take`: mostly all of them, or none.
  const int64_t take = found.left - found.ties[tile];
  const bool all = take >= found.ties[tile + 1] - found.ties[tile];
  compare(values, wanted, all, found.cut.order, out);
  if (all || take <= 0) return;
  for (size_t k = 0; k < values.size(); ++k) {
    if (values[k] == wanted && cursors[cut]++ < take) out[k] = ~0u;
  }
}

}  // namespace smidgen
