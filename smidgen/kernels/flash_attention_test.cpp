// The kernel on every target against the slow reference, and the reference against finite
// differences and a closed form.
#include "smidgen/kernels/flash_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/kernels/query_attention.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

using Doubles = std::vector<double>;
using Starts = std::vector<int64_t>;

Doubles normal(int64_t n, double scale = 1) {
  static uint64_t call = 0;
  const Rng rng(3, "flash attention tests", ++call);
  Doubles x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = scale * rng.normal(i);
  return x;
}

struct Case {
  const char* name;
  Starts queries, keys;
  MaskKind mask = MaskKind::causal;
  int64_t window = 0;
  Starts prefix = {};
  float softcap = 0;
  double size = 1;  // of q: large ones make a sharp softmax whose largest score moves
};

FlashAttention shape_of(const Case& c, int64_t heads, int64_t kv_heads, int64_t width) {
  FlashAttention shape{heads, kv_heads, width, c.queries, c.keys, c.mask, c.window, c.prefix};
  shape.scale = static_cast<float>(0.9 / std::sqrt(static_cast<double>(width)));
  shape.softcap = c.softcap;
  return shape;
}

// Lengths around the sizes of blocks (64 keys) and tiles (96 rows), and far from them.
std::vector<Case> cases() {
  const Starts odd{0, 5, 5, 70, 71, 200}, decode{0, 1, 2, 3, 4, 5}, chunk{0, 0, 2, 35, 36, 100};
  const Starts crossed{0, 70, 80, 81, 81, 90};
  const auto causal = MaskKind::causal, full = MaskKind::full, window = MaskKind::window,
             prefix = MaskKind::prefix;
  const Starts keys{0, 9, 40, 105, 110, 240};
  return {{"causal", odd, odd},
          {"sharp", odd, odd, causal, 0, {}, 0, 30},
          {"long", {0, 333}, {0, 333}},
          {"full", odd, odd, full},
          {"cross", crossed, odd, full},
          {"window", odd, odd, window, 7},
          {"wide window", odd, odd, window, 65},
          {"one key", odd, odd, window, 1},
          {"prefix", odd, odd, prefix, 0, {3, 0, 66, 9, 100}},
          {"softcap", odd, odd, causal, 0, {}, 1.5f, 2},
          {"softcap window", odd, odd, window, 33, {}, 1.5f, 2},
          {"wide softcap", odd, odd, causal, 0, {}, 1e6f},
          {"decode", decode, keys},
          {"decode window", decode, keys, window, 70},
          {"decode prefix", decode, keys, prefix, 0, {9, 3, 70, 0, 200}},
          {"chunk", chunk, keys},
          {"chunk window", chunk, keys, window, 70, {}, 2.0f},
          {"nothing", {0, 0, 3}, {0, 4, 4}, full}};
}

// Rows of heads within wider rows, as views of a fused projection are. The gaps hold NaN.
template <class T>
struct Rows {
  int64_t n, heads, width, gap;
  std::vector<T> data;

  Rows(int64_t rows, int64_t h, int64_t c, int64_t space = 3)
      : n(rows), heads(h), width(c), gap(space) {
    data.resize(static_cast<size_t>(n * row() + 1));
    for (T& x : data) store(std::nanf(""), &x);
  }
  int64_t row() const { return heads * (width + gap) + gap; }
  T* at(int64_t r, int64_t h, int64_t i) { return data.data() + r * row() + h * (width + gap) + i; }
  HeadRows<T> view() { return {data.data(), row(), width + gap}; }
  HeadRows<const T> read() { return {data.data(), row(), width + gap}; }
  template <class Body>
  void each(Body&& body) {
    size_t i = 0;
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t x = 0; x < width; ++x) body(at(r, h, x), i++);
      }
    }
  }
  // Rounds `x` to T on the way, so that the reference sees the same numbers.
  void set(Doubles& x) {
    each([&](T* to, size_t i) {
      store(static_cast<float>(x[i]), to);
      x[i] = to_float(*to);
    });
  }
  Doubles get() {
    Doubles x;
    each([&](T* from, size_t) { x.push_back(to_float(*from)); });
    return x;
  }
};

void expect_close(const Doubles& found, const Doubles& wanted, double bound, const char* what) {
  ASSERT_EQ(found.size(), wanted.size());
  double scale = 1, worst = 0;  // a window of one key has no gradient of scores
  for (double w : wanted) scale = std::max(scale, std::abs(w));
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_FALSE(std::isnan(found[i])) << what << " " << i;
    worst = std::max(worst, std::abs(found[i] - wanted[i]) / scale);
  }
  EXPECT_LE(worst, bound) << what << " on " << kernel_target();
}

template <class T>
struct Result {
  Rows<T> out, dq, dk, dv;
  std::vector<float> log_sums;
};

template <class T>
Result<T> run(const FlashAttention& shape, Rows<T>& q, Rows<T>& k, Rows<T>& v, Rows<T>& dout) {
  const int64_t n = shape.queries(), m = shape.keys(), c = shape.width;
  Result<T> result{{n, shape.heads, c},
                   {n, shape.heads, c},
                   {m, shape.kv_heads, c, 0},
                   {m, shape.kv_heads, c, 1},
                   std::vector<float>(static_cast<size_t>(n * shape.heads))};
  flash_attention<T>(shape, q.read(), k.read(), v.read(), result.out.view(),
                     result.log_sums.data());
  flash_attention_backward<T>(shape, q.read(), k.read(), v.read(), result.out.read(),
                              result.log_sums.data(), dout.read(), result.dq.view(),
                              result.dk.view(), result.dv.view());
  return result;
}

template <class T>
void check(const Case& c, int64_t heads, int64_t kv_heads, int64_t width, double bound) {
  SCOPED_TRACE(testing::Message() << c.name << ", " << heads << "/" << kv_heads << " heads of "
                                  << width << (std::is_same_v<T, Bf16> ? ", bf16" : ", float"));
  const FlashAttention shape = shape_of(c, heads, kv_heads, width);
  const int64_t n = shape.queries(), m = shape.keys();
  Doubles q = normal(n * heads * width, c.size), k = normal(m * kv_heads * width),
          v = normal(m * kv_heads * width), dout = normal(n * heads * width);
  Rows<T> q_rows(n, heads, width), k_rows(m, kv_heads, width), v_rows(m, kv_heads, width, 0),
      dout_rows(n, heads, width, 0);
  q_rows.set(q);
  k_rows.set(k);
  v_rows.set(v);
  dout_rows.set(dout);
  Result<T> found = run(shape, q_rows, k_rows, v_rows, dout_rows);
  Doubles out(q.size()), dq(q.size()), dk(k.size()), dv(v.size());
  flash_attention_ref(shape, q.data(), k.data(), v.data(), out.data(), dout.data(), dq.data(),
                      dk.data(), dv.data());
  expect_close(found.out.get(), out, bound, "out");
  expect_close(found.dq.get(), dq, 2 * bound, "dq");
  expect_close(found.dk.get(), dk, 2 * bound, "dk");
  expect_close(found.dv.get(), dv, 2 * bound, "dv");
}

class FlashAttentionOnTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, FlashAttentionOnTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

constexpr double kFloat = 5e-6, kBf16 = 1e-2;  // of the largest magnitude

TEST_P(FlashAttentionOnTarget, EqualsTheReference) {
  for (const Case& c : cases()) {
    for (int64_t kv_heads : {2, 6}) {
      check<float>(c, 6, kv_heads, 16, c.size > 10 ? 4 * kFloat : kFloat);
      check<Bf16>(c, 6, kv_heads, 16, kBf16);
    }
  }
}

TEST_P(FlashAttentionOnTarget, TakesAnyWidth) {
  for (int64_t width : {1, 7, 48, 64, 80, 256}) {
    check<float>(cases()[0], 4, 2, width, kFloat);
    check<Bf16>(cases()[0], 4, 2, width, kBf16);
  }
  check<Bf16>(cases()[0], 300, 1, 2, kBf16);  // more heads than a block has rows
}

// Long enough that a sequence's queries are shared out in the backward pass, and that rows forget
// their first blocks.
TEST_P(FlashAttentionOnTarget, SharesAddUp) {
  const Starts starts{0, 3, 1103};
  check<float>({"shares", starts, starts}, 3, 1, 64, kFloat);
  check<Bf16>({"shares", starts, starts, MaskKind::window, 150}, 3, 1, 64, kBf16);
}

// Equal scores: a row is the mean of the values it sees.
TEST_P(FlashAttentionOnTarget, OfEqualScoresIsTheMean) {
  const int64_t n = 1500;
  const Starts starts{0, n};
  const FlashAttention shape{1, 1, 16, starts, starts};
  Rows<float> q(n, 1, 16), k(n, 1, 16), v(n, 1, 16);
  Doubles zeros(static_cast<size_t>(n * 16)), keys = normal(n * 16), values = normal(n * 16);
  q.set(zeros);
  k.set(keys);
  v.set(values);
  Result<float> found = run(shape, q, k, v, v);
  Doubles mean(values.size());
  double sums[16] = {};
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t i = 0; i < 16; ++i) {
      sums[i] += values[static_cast<size_t>(r * 16 + i)];
      mean[static_cast<size_t>(r * 16 + i)] = sums[i] / static_cast<double>(r + 1);
    }
    EXPECT_NEAR(found.log_sums[static_cast<size_t>(r)], std::log(r + 1.0), 1e-5);
  }
  expect_close(found.out.get(), mean, kFloat, "mean");
}

// A row is as it would be alone, to the bit: neither its neighbours nor its place matter.
TEST_P(FlashAttentionOnTarget, RowsDoNotDependOnTheirNeighbours) {
  const int64_t n = 150;
  const Starts all{0, n};
  Rows<Bf16> q(n, 2, 32), k(n, 1, 32), v(n, 1, 32);
  Doubles a = normal(n * 64), b = normal(n * 32), c = normal(n * 32);
  q.set(a);
  k.set(b);
  v.set(c);
  Result<Bf16> whole = run(FlashAttention{2, 1, 32, all, all}, q, k, v, q);
  for (int64_t row : {int64_t{0}, int64_t{63}, int64_t{64}, n - 1}) {
    const Starts one{0, 1}, seen{0, row + 1};
    const FlashAttention shape{2, 1, 32, one, seen};
    Rows<Bf16> out(1, 2, 32);
    float log_sums[2];
    flash_attention<Bf16>(shape, {q.at(row, 0, 0), q.row(), q.width + q.gap}, k.read(), v.read(),
                          out.view(), log_sums);
    for (int64_t h = 0; h < 2; ++h) {
      EXPECT_EQ(log_sums[h], whole.log_sums[static_cast<size_t>(2 * row + h)]);
      for (int64_t i = 0; i < 32; ++i) {
        EXPECT_EQ(out.at(0, h, i)->bits, whole.out.at(row, h, i)->bits) << row;
      }
    }
  }
}

template <class T>
void check_nan(double bad) {
  const int64_t n = 70;
  const Starts starts{0, n};
  Doubles a = normal(n * 32), b = normal(n * 16), c = normal(n * 16);
  a[(20 * 2 + 1) * 16 + 5] = bad;
  Rows<T> q(n, 2, 16), k(n, 1, 16), v(n, 1, 16);
  q.set(a);
  k.set(b);
  v.set(c);
  const Doubles out = run(FlashAttention{2, 1, 16, starts, starts}, q, k, v, q).out.get();
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(std::isnan(out[i]), i / 16 == 20 * 2 + 1) << bad << " " << i;
  }
}

TEST_P(FlashAttentionOnTarget, ShowsNanAndInfinityInTheirRowAlone) {
  for (double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    check_nan<float>(bad);
    check_nan<Bf16>(bad);
  }
}

template <class T>
Doubles attend_single(const Case& c, int64_t heads, int64_t kv_heads, int64_t width,
                      Doubles* wanted) {
  const FlashAttention shape = shape_of(c, heads, kv_heads, width);
  const int64_t n = shape.queries(), m = shape.keys();
  Doubles q = normal(n * heads * width, c.size), k = normal(m * kv_heads * width),
          v = normal(m * kv_heads * width);
  Rows<T> q_rows(n, heads, width), k_rows(m, kv_heads, width), v_rows(m, kv_heads, width, 0),
      out(n, heads, width);
  q_rows.set(q);
  k_rows.set(k);
  v_rows.set(v);
  wanted->resize(q.size());
  flash_attention_ref(shape, q.data(), k.data(), v.data(), wanted->data(), nullptr, nullptr,
                      nullptr, nullptr);
  query_attention<T>(shape, q_rows.read(), k_rows.read(), v_rows.read(), out.view());
  return out.get();
}

// No query, one key, a part of a tile, whole tiles, several runs of 256 keys.
TEST_P(FlashAttentionOnTarget, OfSingleQueriesEqualsTheReference) {
  const Starts queries{0, 1, 1, 2, 3, 4, 5}, keys{0, 1, 4, 74, 330, 1029, 1541};
  const auto causal = MaskKind::causal, full = MaskKind::full;
  const Case of[] = {{"causal", queries, keys, causal},
                     {"sharp", queries, keys, causal, 0, {}, 0, 30},
                     {"full", queries, keys, full},
                     {"window", queries, keys, MaskKind::window, 70},
                     {"wide window", queries, keys, MaskKind::window, 300},
                     {"prefix", queries, keys, MaskKind::prefix, 0, {9, 3, 70, 0, 200, 1}},
                     {"softcap", queries, keys, causal, 0, {}, 1.5f, 2},
                     {"nothing", {0, 1, 2}, {0, 0, 5}, full}};
  for (const Case& c : of) {
    SCOPED_TRACE(c.name);
    Doubles wanted;
    for (const auto& [heads, kv_heads, width] :
         {std::array<int64_t, 3>{6, 2, 16}, {5, 1, 64}, {4, 2, 7}, {2, 2, 80}}) {
      const Doubles floats = attend_single<float>(c, heads, kv_heads, width, &wanted);
      expect_close(floats, wanted, c.size > 10 ? 4 * kFloat : kFloat, "out");
      const Doubles halves = attend_single<Bf16>(c, heads, kv_heads, width, &wanted);
      expect_close(halves, wanted, 4e-3, "out");  // one rounding
    }
  }
}

// By hand: both the kernel and its reference ask visible_keys.
TEST(AttentionMask, SeesWhatItSays) {
  const auto seen = [](MaskKind mask, int64_t window, int64_t prefix, int64_t position) {
    const KeyRange range = visible_keys(mask, window, prefix, position, 9);
    return Starts{range.begin, range.end};
  };
  EXPECT_EQ(seen(MaskKind::causal, 0, 0, 4), (Starts{0, 5}));
  EXPECT_EQ(seen(MaskKind::full, 0, 0, 4), (Starts{0, 9}));
  EXPECT_EQ(seen(MaskKind::window, 3, 0, 1), (Starts{0, 2}));
  EXPECT_EQ(seen(MaskKind::window, 3, 0, 4), (Starts{2, 5}));
  EXPECT_EQ(seen(MaskKind::prefix, 0, 3, 1), (Starts{0, 3}));
  EXPECT_EQ(seen(MaskKind::prefix, 0, 3, 4), (Starts{0, 5}));
  EXPECT_EQ(seen(MaskKind::prefix, 0, 20, 4), (Starts{0, 9}));
}

TEST(FlashAttentionReference, GradientsAreFiniteDifferences) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    FlashAttention shape = shape_of(c, 4, 2, 3);
    const int64_t n = shape.queries() * 12, m = shape.keys() * 6;
    Doubles inputs[] = {normal(n), normal(m), normal(m)};
    const Doubles dout = normal(n);
    Doubles out(dout.size()), grads[] = {inputs[0], inputs[1], inputs[2]};
    const auto value = [&](bool gradients) {
      flash_attention_ref(shape, inputs[0].data(), inputs[1].data(), inputs[2].data(), out.data(),
                          gradients ? dout.data() : nullptr, grads[0].data(), grads[1].data(),
                          grads[2].data());
      double sum = 0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
      return sum;
    };
    value(true);
    constexpr double kStep = 1e-5;
    for (size_t which = 0; which < 3; ++which) {
      for (size_t i = 0; i < inputs[which].size(); i += inputs[which].size() / 7 + 1) {
        double& x = inputs[which][i];
        const double kept = x;
        x = kept + kStep;
        const double above = value(false);
        x = kept - kStep;
        const double below = value(false);
        x = kept;
        EXPECT_NEAR(grads[which][i], (above - below) / (2 * kStep), 1e-7) << which << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace smidgen
