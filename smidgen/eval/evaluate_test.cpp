#include "smidgen/eval/evaluate.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

std::vector<Sample> samples() {
  const Rng rng(5, "samples");
  uint64_t draw = 0;
  std::vector<Sample> all;
  for (int i = 0; i < 9; ++i) {
    Sample s;
    const uint64_t length = 2 + rng.below(draw++, 20);
    for (uint64_t t = 0; t < length; ++t) {
      s.ids.push_back(static_cast<int32_t>(rng.below(draw++, 67)));
      s.answer.push_back(t > 0 && (t + 1 == length || rng.below(draw++, 2)));
    }
    s.where = str("made:", i + 1);
    all.push_back(s);
  }
  return all;
}

Dataset data() {
  Dataset set;
  for (const Sample& s : samples()) set.add(s);
  return set;
}

// Sum of -log softmax over the answer tokens of one sample, by plain ATen on the whole logits.
double reference(const Model& model, const Sample& s) {
  torch::NoGradGuard no_grad;
  const Stream stream = make_stream(s.ids);
  const at::Tensor p =
      model.logits(model.forward(stream), *stream.rows).to(at::kDouble).log_softmax(1);
  double sum = 0;
  for (size_t t = 1; t < s.ids.size(); ++t) {
    if (s.answer[t]) sum -= p[static_cast<int64_t>(t) - 1][s.ids[t]].item<double>();
  }
  return sum;
}

TEST(Evaluate, IsTheMeanOverAnswerTokensForAnyBatching) {
  const auto model = make_tiny_llama();
  double sum = 0;
  int64_t tokens = 0;
  std::vector<double> each;
  for (const Sample& s : samples()) {
    each.push_back(reference(*model, s));
    sum += each.back();
    tokens += std::count(s.answer.begin(), s.answer.end(), 1);
  }
  for (const int64_t micro : {1, 30, 4096}) {
    for (const bool per_sample : {false, true}) {
      const EvalResult result =
          evaluate(*model, data(), {.micro_tokens = micro, .per_sample = per_sample});
      EXPECT_EQ(result.tokens, tokens);
      EXPECT_EQ(result.samples, 9);
      EXPECT_NEAR(result.loss(), sum / static_cast<double>(tokens), 1e-5);
      EXPECT_NEAR(result.perplexity(), std::exp(sum / static_cast<double>(tokens)), 1e-3);
      ASSERT_EQ(result.per_sample.size(), per_sample ? 9u : 0u);
      for (size_t i = 0; i < result.per_sample.size(); ++i)
        EXPECT_NEAR(result.per_sample[i].loss_sum, each[i], 1e-4 * each[i]);
    }
  }
}

TEST(Evaluate, ReportsProgressAndStops) {
  const auto model = make_tiny_llama();
  int64_t last = 0;
  EvalOptions options{.micro_tokens = 1};
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_GT(done, last);
    EXPECT_LE(done, total);
    last = done;
  };
  evaluate(*model, data(), options);
  EXPECT_EQ(last, data().tokens());
  options.stop = [&] { return true; };
  try {
    evaluate(*model, data(), options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::interrupted);
  }
}

TEST(Evaluate, NeedsAnAnswerToken) {
  const auto model = make_tiny_llama();
  Dataset set;
  set.add({{1, 2, 3}, {0, 0, 0}, "made:1"});
  EXPECT_THROW(evaluate(*model, set), Error);
  EXPECT_THROW(evaluate(*model, data(), {.micro_tokens = 0}), Error);
}

}  // namespace
}  // namespace smidgen
