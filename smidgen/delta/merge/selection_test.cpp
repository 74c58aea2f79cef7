#include "smidgen/delta/merge/selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"
#include "smidgen/delta/merge/tensor_engine.h"

namespace smidgen {
namespace {

using enum RankCut::Order;

// Marks what each cut of the first input holds: 1, 2, 4 ... for the first, second, third ... cut.
class Marks : public TensorMerge {
 public:
  Marks(int64_t elements, const std::vector<RankCut>& cuts, bool masks)
      : selection(1, elements, masks), masks_(masks) {
    selection.cut(cuts);
  }
  std::optional<PassSize> pass_size(int pass) const override {
    auto size = selection.pass_size(pass);
    if (size) passes = pass + 1;
    return size;
  }
  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override {
    selection.reduce(pass, 0, {chunk.inputs[0], static_cast<size_t>(chunk.count)}, partial);
  }
  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override {
    selection.finish(pass, sums, counts);
  }
  size_t cursors() const override { return selection.cursors(); }
  void emit(const Chunk& chunk, float* out) const override {
    const size_t count = static_cast<size_t>(chunk.count);
    std::fill_n(out, count, 0.0f);
    if (!masks_) return;
    std::vector<uint32_t> mask(count);
    for (size_t i = 0; i < selection.cursors(); ++i) {
      selection.mask(i, {chunk.inputs[0], count}, chunk.tile, chunk.cursors, mask.data());
      for (size_t k = 0; k < count; ++k) {
        EXPECT_TRUE(mask[k] == 0 || mask[k] == ~0u);
        if (mask[k]) out[k] += std::ldexp(1.0f, static_cast<int>(i));
      }
    }
  }

  Selection selection;
  mutable int passes = 0;

 private:
  bool masks_;
};

struct Selected {
  Values marks;
  std::vector<float> values;
  int passes;
};

Selected select(const Values& x, const std::vector<RankCut>& cuts, bool masks = true,
                int64_t columns = 0) {
  const int64_t elements = static_cast<int64_t>(x.size());
  const MergeTask task{
      .tensor = "w", .elements = elements, .columns = columns ? columns : elements, .inputs = 1};
  Marks marks(elements, cuts, masks);
  Selected made{.marks = Values(x.size())};
  const TensorPorts ports{
      .read = [&](size_t, int64_t begin,
                  std::span<float> out) { std::copy_n(&x[begin], out.size(), out.data()); },
      .write =
          [&](const Chunk& chunk, std::span<const float> got) {
            std::copy(got.begin(), got.end(), &made.marks[chunk.begin]);
          }};
  merge_tensor({}, marks, {&task, ports});
  for (size_t i = 0; i < cuts.size(); ++i) made.values.push_back(marks.selection.value(i));
  made.passes = marks.passes;
  return made;
}

// The same by sorting.
Selected sorted(const Values& x, const std::vector<RankCut>& cuts) {
  Selected made{.marks = Values(x.size()), .passes = 0};
  for (size_t i = 0; i < cuts.size(); ++i) {
    std::vector<size_t> order(x.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return cuts[i].order == ascending ? x[a] < x[b] : x[a] > x[b];
    });
    const int64_t last = static_cast<int64_t>(x.size()) - 1;
    made.values.push_back(
        x[order[static_cast<size_t>(std::clamp<int64_t>(cuts[i].rank, 0, last))]]);
    for (int64_t rank = 0; rank < std::min(cuts[i].rank, last + 1); ++rank)
      made.marks[order[static_cast<size_t>(rank)]] += std::ldexp(1.0f, static_cast<int>(i));
  }
  return made;
}

std::vector<RankCut> cuts_of(int64_t elements) {
  return {{.rank = elements / 3},
          {.rank = elements / 3, .order = descending},
          {.rank = 1, .order = descending},
          {.rank = elements - 1},
          {.rank = 0},
          {.rank = elements, .order = descending},
          {.rank = elements + 7}};
}

void expect_as_sorted(const Values& x) {
  const auto cuts = cuts_of(static_cast<int64_t>(x.size()));
  const Selected got = select(x, cuts), want = sorted(x, cuts);
  EXPECT_EQ(got.marks, want.marks);
  EXPECT_EQ(got.values, want.values);
  EXPECT_EQ(select(x, cuts, false).values, want.values);
}

TEST(Selection, IsWhatSortingGives) {
  for (const size_t count : {1, 2, 3, 100, 70000, 300000, 2500000})
    expect_as_sorted(normal_values(count, count));
}

TEST(Selection, TakesTheFirstOfEqualValues) {
  // Few values, with and without bits in the last digit, of both signs, and two zeros.
  for (const float step : {.25f, .1f}) {
    for (const size_t count : {50, 300000, 2500000}) {
      Values x = normal_values(count, 5, 3);
      for (float& v : x) v = std::round(v) * step;
      expect_as_sorted(x);
    }
  }
  expect_as_sorted({0.0f, -0.0f, 0.0f, -0.0f, 1, -1});
  expect_as_sorted(Values(2200000, .3f));
  expect_as_sorted(Values(2200000, 0));
}

TEST(Selection, TakesExtremes) {
  expect_as_sorted({1e-45f, -1e-45f, 3e38f, -3e38f, INFINITY, -INFINITY, 1e-38f, 0, 5});
}

TEST(Selection, DoesNotDependOnTiles) {
  Values x = normal_values(2400000, 8, 3);
  for (float& v : x) v = std::round(v * 4) / 3;
  const auto cuts = cuts_of(2400000);
  const Selected whole = select(x, cuts);
  EXPECT_EQ(select(x, cuts, true, 7).marks, whole.marks);
  EXPECT_EQ(select(x, cuts, true, 800000).marks, whole.marks);
}

TEST(Selection, ReadsNoOftenerThanItMust) {
  const std::vector<RankCut> cut = {{.rank = 1000, .order = descending}};
  Values x = normal_values(300000, 2);
  EXPECT_EQ(select(x, cut).passes, 2);
  // Equal values of few bits cost no pass, others one if someone asks which of them it is.
  for (float& v : x) v = std::round(v * 8) / 8;
  EXPECT_EQ(select(x, cut).passes, 2);
  for (float& v : x) v *= 1.1f;
  EXPECT_EQ(select(x, cut).passes, 3);
  EXPECT_EQ(select(x, cut, false).passes, 2);
}

}  // namespace
}  // namespace smidgen
