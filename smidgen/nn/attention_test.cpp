#include "smidgen/nn/attention.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/op_checks_test.h"

namespace smidgen {
namespace {

using Starts = std::vector<int64_t>;

struct Case {
  const char* name;
  Starts queries, keys;
  AttentionOptions options;
};

std::vector<Case> cases() {
  AttentionOptions causal, full, window, prefix, scaled, cap;
  full.mask = MaskKind::full;
  window.mask = MaskKind::window;
  window.window = 3;
  prefix.mask = MaskKind::prefix;
  prefix.prefix = {2, 0, 4};
  scaled.scale = 0.7;
  cap.softcap = 1.5;
  const Starts three{0, 5, 9, 16}, equal{0, 6, 12, 18}, empty{0, 5, 5, 16};
  const Starts last{0, 1, 2, 3}, chunk{0, 2, 5, 8}, none{0, 0, 4, 7};
  return {{"causal", three, three, causal},       {"equal", equal, equal, causal},
          {"empty", empty, empty, causal},        {"full", three, three, full},
          {"window", three, three, window},       {"prefix", three, three, prefix},
          {"scaled", three, three, scaled},       {"softcap", three, three, cap},
          {"decode", last, three, causal},        {"decode window", last, three, window},
          {"decode prefix", last, three, prefix}, {"chunk", chunk, three, causal},
          {"chunk window", chunk, three, window}, {"chunk prefix", chunk, three, prefix},
          {"cross", equal, three, full},          {"no queries", none, three, causal}};
}

TEST(Attention, FastEqualsReference) {
  for (const Case& c : cases()) {
    for (int64_t kv_heads : {1, 2, 4}) {
      SCOPED_TRACE(testing::Message() << c.name << ", " << kv_heads << " key heads");
      expect_same_op({normal({c.queries.back(), 4, 16}), normal({c.keys.back(), kv_heads, 16}),
                      normal({c.keys.back(), kv_heads, 16})},
                     [&](const Tensors& in) {
                       return attention(in[0], in[1], in[2], c.queries, c.keys, c.options);
                     });
    }
  }
}

TEST(Attention, ReferenceGradientsAreFiniteDifferences) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    expect_finite_differences({normal({c.queries.back(), 2, 3}), normal({c.keys.back(), 1, 3}),
                               normal({c.keys.back(), 1, 3})},
                              [&](const Tensors& in) {
                                return attention_ref(in[0], in[1], in[2], c.queries, c.keys,
                                                     c.options);
                              });
  }
}

// Which keys a query sees, written out by hand: value j is the unit vector e_j and all scores are
// equal, so the output row is 1 / count at the visible keys.
TEST(Attention, MasksSeeWhatTheySay) {
  const Starts starts{0, 2, 6};
  AttentionOptions window, prefix;
  window.mask = MaskKind::window;
  window.window = 2;
  prefix.mask = MaskKind::prefix;
  prefix.prefix = {0, 3};
  const std::vector<std::vector<std::vector<int>>> wanted = {
      {{0}, {0, 1}, {2}, {2, 3}, {2, 3, 4}, {2, 3, 4, 5}},
      {{0}, {0, 1}, {2}, {2, 3}, {3, 4}, {4, 5}},
      {{0}, {0, 1}, {2, 3, 4}, {2, 3, 4}, {2, 3, 4}, {2, 3, 4, 5}}};
  const at::Tensor zeros = torch::zeros({6, 1, 6}), values = torch::eye(6).unsqueeze(1);
  const AttentionOptions all[] = {{}, window, prefix};
  for (KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    for (size_t kind = 0; kind < 3; ++kind) {
      const at::Tensor out = attention(zeros, zeros, values, starts, starts, all[kind]);
      at::Tensor expected = torch::zeros({6, 1, 6});
      for (int64_t row = 0; row < 6; ++row) {
        const auto& keys = wanted[kind][static_cast<size_t>(row)];
        for (int key : keys) expected[row][0][key] = 1.0 / static_cast<double>(keys.size());
      }
      expect_close(out, expected, 1e-6, str("mask ", kind));
    }
  }
}

TEST(Attention, CachedRowsEqualTheWholeSequence) {
  const ScopedKernels fast(KernelsMode::fast);
  const at::Tensor q = normal({12, 4, 16}), k = normal({12, 2, 16}), v = normal({12, 2, 16});
  const Starts all{0, 12};
  const at::Tensor whole = attention(q, k, v, all, all);
  for (int64_t row = 0; row < 12; ++row) {
    const Starts one{0, 1}, seen{0, row + 1};
    const at::Tensor out =
        attention(q.narrow(0, row, 1), k.narrow(0, 0, row + 1), v.narrow(0, 0, row + 1), one, seen);
    expect_close(out[0], whole[row], 1e-6, str("row ", row));
  }
}

TEST(Attention, AQueryWithoutKeysIsZero) {
  AttentionOptions full;
  full.mask = MaskKind::full;
  for (KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    const at::Tensor out = attention(normal({3, 2, 4}), normal({2, 2, 4}), normal({2, 2, 4}),
                                     Starts{0, 1, 3}, Starts{0, 0, 2}, full);
    EXPECT_EQ(out[0].abs().max().item<float>(), 0);
    EXPECT_GT(out[1].abs().max().item<float>(), 0);
  }
}

TEST(Attention, Bf16IsNearTheReference) {
  const at::Tensor q = normal({9, 4, 16}), k = normal({9, 2, 16}), v = normal({9, 2, 16});
  const Starts starts{0, 4, 9};
  const at::Tensor exact = attention_ref(q, k, v, starts, starts);
  const at::Tensor rounded =
      attention(q.to(at::kBFloat16), k.to(at::kBFloat16), v.to(at::kBFloat16), starts, starts);
  EXPECT_EQ(rounded.scalar_type(), at::kBFloat16);
  expect_close(rounded, exact, 2e-2, "bf16");
}

// Whoever takes which block, and however many there are: the same bits.
TEST(Attention, ThreadsDoNotChangeBits) {
  const ScopedKernels fast(KernelsMode::fast);
  const Starts starts{0, 300, 310, 1200};
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Tensors inputs{normal({1200, 6, 64}).to(dtype), normal({1200, 2, 64}).to(dtype),
                         normal({1200, 2, 64}).to(dtype)};
    const at::Tensor direction = normal({1200, 6, 64}).to(dtype);
    Tensors first;
    for (int count : {1, 2, 3}) {
      at::set_num_threads(count);
      Tensors leaves;
      for (const at::Tensor& x : inputs) leaves.push_back(x.clone().requires_grad_(true));
      const at::Tensor out = attention(leaves[0], leaves[1], leaves[2], starts, starts);
      (out * direction).sum().backward();
      const Tensors found{out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
      if (first.empty()) first = found;
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_TRUE(at::equal(found[i], first[i])) << i << " with " << count << " threads";
      }
    }
  }
  at::set_num_threads(threads);
}

// A fused projection's parts are views, and a broadcast gradient has no stride.
TEST(Attention, TakesViews) {
  const ScopedKernels fast(KernelsMode::fast);
  const Starts starts{0, 5, 12};
  const at::Tensor whole = normal({12, 3, 4, 16}), plain = normal({16, 4, 12});
  const at::Tensor q = whole.select(1, 0), k = whole.select(1, 1),
                   v = plain.permute({2, 1, 0}).detach().requires_grad_(true);
  const at::Tensor out = attention(q, k, v, starts, starts);
  out.sum().backward();
  const at::Tensor copy = v.detach().contiguous().requires_grad_(true);
  const at::Tensor wanted = attention_ref(q, k, copy, starts, starts);
  wanted.sum().backward();
  expect_close(out, wanted, 1e-6, "out");
  expect_close(v.grad(), copy.grad(), 1e-6, "gradient");
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const at::Tensor q = normal({4, 4, 8}), k = normal({4, 2, 8});
  const auto call = [&](const at::Tensor& queries, const at::Tensor& keys, Starts a, Starts b,
                        AttentionOptions options = {}) {
    attention(queries, keys, keys, a, b, options);
  };
  EXPECT_NO_THROW(call(q, k, {0, 4}, {0, 4}));
  EXPECT_THROW(call(normal({4, 3, 8}), k, {0, 4}, {0, 4}), Error);
  EXPECT_THROW(call(normal({4, 4, 6}), k, {0, 4}, {0, 4}), Error);
  EXPECT_THROW(call(q, k, {0, 3}, {0, 4}), Error);
  EXPECT_THROW(call(q, k, {1, 4}, {0, 4}), Error);
  EXPECT_THROW(call(q, k, {0, 3, 2, 4}, {0, 1, 2, 4}), Error);
  EXPECT_THROW(call(q, k, {0, 4}, {0, 2, 4}), Error);
  EXPECT_THROW(call(q, k, {0, 3, 4}, {0, 2, 4}), Error) << "more queries than keys";
  AttentionOptions window;
  window.mask = MaskKind::window;
  EXPECT_THROW(call(q, k, {0, 4}, {0, 4}, window), Error);
}

}  // namespace
}  // namespace smidgen
