#include "smidgen/eval/model_statistics.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

// Values against autograd of transformers: tests/parity/test_merge_statistics.py.

Dataset data(int count, int times = 1, int first = 0) {
  Dataset set;
  for (int i = first; i < first + count; ++i) {
    const Rng rng(5, "samples", static_cast<uint64_t>(i));
    Sample s{.where = "made"};
    for (uint64_t t = 0; t < 5 + rng.below(90, 12); ++t) {
      s.ids.push_back(static_cast<int32_t>(rng.below(t, 67)));
      s.answer.push_back(t > 2);
    }
    for (int k = 0; k < times; ++k) set.add(s);
  }
  return set;
}

const at::Tensor& tensor(const ModelStatistics& statistics, const std::string& name) {
  for (const auto& [own, values] : statistics.tensors) {
    if (own == name) return values;
  }
  throw Error(ErrorKind::not_found, name);
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
}

TEST(ModelStatistics, FisherCoversEveryTensor) {
  for (const bool tied : {false, true}) {
    const auto model = make_tiny_llama({.tied = tied, .attention_bias = true});
    const ModelStatistics found = measure(StatisticsKind::fisher, *model, data(4));
    const auto tensors = model->tensors();
    ASSERT_EQ(found.tensors.size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(found.tensors[i].first, tensors[i].name);
      EXPECT_EQ(found.tensors[i].second.sizes().vec(), tensors[i].shape);
      EXPECT_GE(found.tensors[i].second.min().item<float>(), 0);
      EXPECT_GT(found.tensors[i].second.max().item<float>(), 0) << tensors[i].name;
    }
    EXPECT_EQ(found.samples, 4);
  }
}

// The derivative by differences: of the last norm, whose values are few.
TEST(ModelStatistics, FisherIsTheSquaredSlope) {
  const std::string name = "model.norm.weight";
  const auto model = make_tiny_llama();
  const ModelStatistics found = measure(StatisticsKind::fisher, *model, data(1));
  const Dataset set = data(1);
  const auto loss = [&](int64_t k, double step) {
    const torch::NoGradGuard no_grad;
    const Sample s = set.at(0);
    const Stream stream = make_stream(s.ids);
    at::Tensor hidden = model->forward(stream).to(at::kDouble);
    // hidden = n(x) w, so another w is another factor.
    for (const ModelTensor& t : model->tensors()) {
      if (t.name != name) continue;
      const double value = t.rows(k, k + 1).item<double>();
      hidden.select(1, k).mul_((value + step) / value);
    }
    const at::Tensor p =
        model->logits(hidden.to(at::kFloat), *stream.rows).to(at::kDouble).log_softmax(1);
    double sum = 0;
    for (size_t t = 1; t < s.ids.size(); ++t) {
      if (s.answer[t]) sum -= p[static_cast<int64_t>(t) - 1][s.ids[t]].item<double>();
    }
    return sum;
  };
  for (const int64_t k : {0, 3, 11}) {
    const double step = 1e-2, slope = (loss(k, step) - loss(k, -step)) / (2 * step);
    const double got = tensor(found, name)[k].item<double>();
    EXPECT_NEAR(got, slope * slope, 1e-2 * slope * slope + 1e-5);
  }
}

TEST(ModelStatistics, FisherIsAMeanOverSamples) {
  const auto model = make_tiny_llama();
  const auto fisher = [&](const Dataset& set) {
    return measure(StatisticsKind::fisher, *model, set);
  };
  const ModelStatistics both = fisher(data(2)), twice = fisher(data(2, 3));
  const ModelStatistics one = fisher(data(1)), other = fisher(data(1, 1, 1));
  for (const auto& [name, values] : both.tensors) {
    EXPECT_LT(difference(tensor(twice, name), values), 1e-5) << name;
    EXPECT_LT(difference((tensor(one, name) + tensor(other, name)) / 2, values), 1e-5) << name;
  }
}

TEST(ModelStatistics, GramsAreThoseOfTheInputs) {
  const auto model = make_tiny_llama();
  const Dataset set = data(6);
  const ModelStatistics found = measure(StatisticsKind::gram, *model, set, {.micro_tokens = 1});
  EXPECT_EQ(found.tensors.size(), 2u * 7 + 1);
  EXPECT_EQ(found.tokens, set.tokens());
  at::Tensor head = at::zeros({24, 24});
  {
    const torch::NoGradGuard no_grad;
    for (int64_t i = 0; i < set.size(); ++i) {
      const at::Tensor hidden = model->forward(make_stream(set.ids(i)));
      head += hidden.t().mm(hidden);
    }
  }
  EXPECT_LT(difference(tensor(found, "lm_head.weight"), head), 1e-5);
  const std::string block = "model.layers.1.";
  EXPECT_TRUE(at::equal(tensor(found, block + "self_attn.q_proj.weight"),
                        tensor(found, block + "self_attn.v_proj.weight")));
  EXPECT_EQ(tensor(found, block + "mlp.down_proj.weight").size(0), 40);
  const ModelStatistics packed = measure(StatisticsKind::gram, *model, set);
  for (const auto& [name, values] : found.tensors) {
    EXPECT_TRUE(at::allclose(values, values.t())) << name;
    EXPECT_LT(difference(tensor(packed, name), values), 1e-5) << name;
  }
}

TEST(ModelStatistics, ATiedHeadHasNone) {
  const auto model = make_tiny_llama({.tied = true});
  EXPECT_EQ(measure(StatisticsKind::gram, *model, data(2)).tensors.size(), 2u * 7);
}

TEST(ModelStatistics, LeavesTheModelAsItWas) {
  const auto model = make_tiny_llama();
  const Dataset set = data(2);
  const torch::NoGradGuard no_grad;
  const at::Tensor before = model->forward(make_stream(set.ids(0)));
  {
    const torch::AutoGradMode grad(true);
    measure(StatisticsKind::fisher, *model, set);
    measure(StatisticsKind::gram, *model, set);
  }
  EXPECT_TRUE(at::equal(model->forward(make_stream(set.ids(0), 1)), before));
}

TEST(ModelStatistics, FileSaysItsKind) {
  const TemporaryFolder home;
  const auto model = make_tiny_llama();
  const ModelStatistics found = measure(StatisticsKind::gram, *model, data(2));
  write_statistics(home / "s.safetensors", found);
  const SafetensorsFile file(home / "s.safetensors");
  EXPECT_EQ(file.metadata().at("statistics"), "gram");
  EXPECT_EQ(file.names().size(), found.tensors.size());
}

TEST(ModelStatistics, Stops) {
  const auto model = make_tiny_llama();
  for (const StatisticsKind kind : {StatisticsKind::fisher, StatisticsKind::gram})
    EXPECT_NE(error_of([&] {
                measure(kind, *model, data(3), {.stop = [] { return true; }});
              }).find("stopped after"),
              std::string::npos);
}

}  // namespace
}  // namespace smidgen
