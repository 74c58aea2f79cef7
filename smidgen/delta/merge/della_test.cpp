#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/thinning_checks_test.h"

namespace smidgen {
namespace {

TEST(DellaMerge, ThinsAtRandom) {
  expect_random_thinning("della");
}

TEST(DellaMerge, MergesWhatIsKept) {
  expect_election_of_thinned("della", "ties", true);
}

// Over many rows the share kept at each rank is density - epsilon + 2 epsilon r.
TEST(DellaMerge, PrefersLargeValues) {
  constexpr int64_t kRows = 40000, kColumns = 5;
  Values x;
  for (int64_t r = 0; r < kRows; ++r)
    for (const float v : {-3.f, 5.f, 1.f, -4.f, 2.f}) x.push_back(v);
  const std::vector<int64_t> ranks = {2, 4, 0, 3, 1};
  MergeCase c = thinned_alone("della", x, .4);
  c.shape = {kRows, kColumns};
  c.by_input[0]["epsilon"] = .2;
  const Values got = merged(c);
  std::vector<double> kept(kColumns);
  for (size_t i = 0; i < got.size(); ++i) kept[i % kColumns] += got[i] != 0;
  for (size_t k = 0; k < kColumns; ++k) {
    const double p = .2 + .4 * static_cast<double>(ranks[k]) / 4;
    EXPECT_NEAR(kept[k] / kRows, p, 5 * std::sqrt(p * (1 - p) / kRows)) << k;
  }
}

}  // namespace
}  // namespace smidgen
