#include "smidgen/delta/merge/row_ranks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

void expect_as_sorted(const Values& row) {
  std::vector<uint32_t> order(row.size()), want(row.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return std::fabs(row[a]) < std::fabs(row[b]); });
  for (uint32_t rank = 0; rank < order.size(); ++rank) want[order[rank]] = rank;
  RowRanks ranks(row.size());
  for (int again = 0; again < 2; ++again) {
    const auto got = ranks.of(row.data());
    EXPECT_EQ(std::vector<uint32_t>(got.begin(), got.end()), want);
  }
}

TEST(RowRanks, AreThoseOfSorting) {
  for (const size_t columns : {1, 2, 7, 127, 128, 129, 1000, 70000})
    expect_as_sorted(normal_values(columns, columns));
}

TEST(RowRanks, GiveTheFirstOfEqualOnesTheLowest) {
  for (const size_t columns : {5, 300}) {
    Values row = normal_values(columns, 3, 2);
    for (float& v : row) v = std::round(v);
    expect_as_sorted(row);
    expect_as_sorted(Values(columns, -1.5f));
  }
}

}  // namespace
}  // namespace smidgen
