// Exact order statistics over values that come piece by piece, by counting instead of sorting. A
// user is a TensorMerge whose first passes belong to it: it calls reduce with the values that it
// makes of each chunk, and hands finish on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

// The first `rank` values of a row in this order. Of equal values that of the lower index comes
// first, whatever the order is; -0 equals 0. Ranks beyond the row mean the whole row.
struct RankCut {
  enum class Order { ascending, descending };
  size_t row = 0;
  int64_t rank = 0;
  Order order = Order::ascending;
};

class Selection {
 public:
  // `rows` are streams of `elements` values each, those of an input or whatever the user makes of
  // several. Two passes for a long row, four cheaper ones for a short one, and a pass more if
  // `masks` are wanted and a cut goes through equal values.
  Selection(size_t rows, int64_t elements, bool masks);

  // Before finish(0, ...), which is the first to need them: ranks may come out of the first pass.
  void cut(std::vector<RankCut> cuts);

  std::optional<PassSize> pass_size(int pass) const;
  // `values` of `row` at this chunk's place. Rows without a cut may be left out. `partial` is what
  // pass_size asked for; a user with sums or counts of its own hands over a part of its Partial.
  void reduce(int pass, size_t row, std::span<const float> values, const Partial& partial) const;
  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts);

  // After the last pass: the value at a cut's rank, the first that it leaves out. The last of the
  // row for a rank beyond it.
  float value(size_t cut) const;

  // What a user with masks has to give as its TensorMerge::cursors().
  size_t cursors() const { return cuts_.size(); }
  // All bits set where the cut holds the value, else none. `values` are those given to reduce,
  // piece by piece of a tile in their order; `cursors` are the chunk's.
  void mask(size_t cut, std::span<const float> values, int64_t tile, std::span<int64_t> cursors,
            uint32_t* out) const;

 private:
  struct Found {
    RankCut cut;
    bool all = false;           // the rank lies beyond the row
    uint32_t key = 0;           // of the value at the rank; its upper digits until the last pass
    int64_t left = 0;           // values of this key (of these digits) that are still in the cut
    std::vector<int64_t> ties;  // values of this key before each tile; empty where left is 0
  };
  int digits() const { return 32 / bits_; }
  bool counts_ties(int pass) const { return masks_ && pass == digits() - 1; }

  size_t rows_;
  int64_t elements_;
  bool masks_;
  int bits_;  // of a digit
  bool tie_pass_ = false;
  std::vector<Found> cuts_;
};

}  // namespace smidgen
