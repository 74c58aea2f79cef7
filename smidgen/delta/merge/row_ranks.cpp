#include "smidgen/delta/merge/row_ranks.h"

#include <algorithm>
#include <array>
#include <bit>

namespace smidgen {

namespace {

// Rows shorter than this are sorted by comparing: the counters alone would take longer.
constexpr size_t kFew = 128;

constexpr size_t kDigits = 4, kValues = 256;

size_t digit(uint64_t item, size_t place) {
  return item >> (32 + 8 * place) & (kValues - 1);
}

}  // namespace

RowRanks::RowRanks(size_t columns) : items_(columns), room_(columns), ranks_(columns) {}

std::span<const uint32_t> RowRanks::of(const float* row) {
  const size_t columns = items_.size();
  for (size_t k = 0; k < columns; ++k) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(row[k]) & 0x7fffffff;
    items_[k] = static_cast<uint64_t>(magnitude) << 32 | k;
  }
  if (columns < kFew) {
    std::sort(items_.begin(), items_.end());
  } else {
    // Digit by digit from the lowest, each time keeping the order so far.
    std::array<std::array<uint32_t, kValues>, kDigits> counts{};
    for (const uint64_t item : items_)
      for (size_t place = 0; place < kDigits; ++place) ++counts[place][digit(item, place)];
    for (size_t place = 0; place < kDigits; ++place) {
      std::array<uint32_t, kValues>& at = counts[place];
      if (at[digit(items_[0], place)] == columns) continue;
      uint32_t before = 0;
      for (uint32_t& count : at) {
        const uint32_t here = count;
        count = before;
        before += here;
      }
      for (const uint64_t item : items_) room_[at[digit(item, place)]++] = item;
      items_.swap(room_);
    }
  }
  for (size_t rank = 0; rank < columns; ++rank)
    ranks_[static_cast<uint32_t>(items_[rank])] = static_cast<uint32_t>(rank);
  return ranks_;
}

}  // namespace smidgen
