#include "smidgen/delta/adapters/extract.h"

#include <cmath>
#include <map>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/adapters/lora_file.h"
#include "smidgen/io/dequantise.h"

namespace smidgen {
namespace {

Json list(const std::vector<std::string>& items) {
  return items;
}

at::Tensor drawn(std::vector<int64_t> shape, uint64_t seed) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::kFloat);
}

// Tensors in memory.
class Memory : public Source {
 public:
  Memory(std::string label, const std::vector<std::pair<std::string, at::Tensor>>& values)
      : label_(std::move(label)) {
    for (const auto& [name, value] : values) {
      values_[name] = value.contiguous();
      tensors_.push_back({.name = name, .shape = value.sizes().vec()});
    }
  }
  std::string label() const override { return label_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(const SourceTensor& t, int64_t begin, std::span<float> out) const override {
    const float* from = values_.at(t.name).const_data_ptr<float>() + begin;
    std::copy(from, from + out.size(), out.begin());
  }
  std::optional<TensorView> stored(const SourceTensor& t) const override {
    const at::Tensor& v = values_.at(t.name);
    return TensorView{.format = Format::f32,
                      .shape = t.shape,
                      .bytes = std::as_bytes(
                          std::span(v.const_data_ptr<float>(), static_cast<size_t>(v.numel())))};
  }
  void release(const SourceTensor&) const override {}
  const ModelFiles* files() const override { return nullptr; }

 private:
  std::string label_;
  std::map<std::string, at::Tensor> values_;
  std::vector<SourceTensor> tensors_;
};

using Values = std::vector<std::pair<std::string, at::Tensor>>;

const std::string kQ = "model.layers.0.self_attn.q_proj", kUp = "model.layers.0.mlp.up_proj";

class Extract : public testing::Test {
 protected:
  Extract() {
    base_ = {{"model.embed_tokens.weight", drawn({30, 12}, 1)},
             {kQ + ".weight", drawn({10, 12}, 2)},
             {kQ + ".bias", drawn({10}, 3)},
             {kUp + ".weight", drawn({20, 12}, 4)},
             {"model.norm.weight", drawn({12}, 5)},
             {"lm_head.weight", drawn({30, 12}, 6)}};
    model_ = base_;
  }

  at::Tensor& of(Values& values, const std::string& name) {
    for (auto& [key, value] : values) {
      if (key == name) return value;
    }
    throw std::out_of_range(name);
  }
  void move(const std::string& name, int64_t rank = 0, uint64_t seed = 9) {
    at::Tensor& t = of(model_, name);
    if (rank == 0) {
      t = t + drawn(t.sizes().vec(), seed);
    } else {
      t = t + at::matmul(drawn({t.size(0), rank}, seed), drawn({rank, t.size(1)}, seed + 1));
    }
  }
  at::Tensor difference(const std::string& name) { return of(model_, name) - of(base_, name); }

  LoraFile extract(const ExtractOptions& options = {}, const std::vector<Site>& sites = {}) {
    const fs::path out = folder_ / str("out", made_++);
    report_ = extract_lora(Memory("before", base_), Memory("after", model_), sites, options, out);
    return LoraFile(out);
  }
  static at::Tensor delta(const LoraFile& file, const std::string& module) {
    const LoraPlace& place = *file.find(module);
    const LoraValues v = file.read(place);
    return at::matmul(v.b, v.a) * place.scale;
  }
  static double off(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  }

  TemporaryFolder folder_;
  Values base_, model_;
  Json report_;
  int made_ = 0;
};

TEST_F(Extract, FullRankReproducesTheDifference) {
  move(kQ + ".weight");
  move(kUp + ".weight", 3);
  const LoraFile out = extract();
  EXPECT_LT(off(delta(out, kQ), difference(kQ + ".weight")), 1e-6);
  EXPECT_LT(off(delta(out, kUp), difference(kUp + ".weight")), 1e-6);
  EXPECT_EQ(out.places().size(), 2u);
  EXPECT_LT(report_.at("error").get<double>(), 1e-6);
  EXPECT_EQ(out.config().at("target_modules"), list({"q_proj", "up_proj"}));
  EXPECT_EQ(out.config().at("modules_to_save"), nullptr);
}

TEST_F(Extract, ATruncatedOneIsTheBestAndTellsItsError) {
  move(kQ + ".weight");
  move(kUp + ".weight", 3);
  const LoraFile out = extract({.rank = 4});
  const at::Tensor d = difference(kQ + ".weight");
  const at::Tensor s = at::linalg_svdvals(d.to(at::kDouble));
  const double left = s.narrow(0, 4, 6).norm().item<double>();
  EXPECT_NEAR((delta(out, kQ) - d).norm().item<double>(), left, 1e-5);
  EXPECT_NEAR(report_.at("by_module").at(kQ).at("error").get<double>(),
              left / d.norm().item<double>(), 1e-6);
  const double norm2 =
      d.square().sum().item<double>() + difference(kUp + ".weight").square().sum().item<double>();
  EXPECT_NEAR(report_.at("error").get<double>(), left / std::sqrt(norm2), 1e-6);
}

TEST_F(Extract, EpsilonGivesEachModuleItsRank) {
  move(kQ + ".weight", 5);
  move(kUp + ".weight", 3);
  const LoraFile out = extract({.sv_epsilon = 1e-3});
  EXPECT_EQ(out.find(kQ)->rank, 5);
  EXPECT_EQ(out.find(kUp)->rank, 3);
  EXPECT_EQ(out.config().at("r"), 5);
  EXPECT_EQ(out.config().at("rank_pattern"), Json({{"^" + kUp, 3}}));
  EXPECT_EQ(out.config().at("alpha_pattern"), Json({{"^" + kUp, 3}}));
  EXPECT_LT(off(delta(out, kUp), difference(kUp + ".weight")), 1e-5);
}

TEST_F(Extract, EmbeddingsHeadsAndNormsAreCopied) {
  move(kQ + ".weight");
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"})
    move(name);
  const LoraFile out = extract();
  EXPECT_EQ(report_.at("whole"), list({"model.embed_tokens", "model.norm", "lm_head"}));
  EXPECT_EQ(out.config().at("modules_to_save"), report_.at("whole"));
  const TensorView view = out.files().tensors->view("base_model.model.model.norm.weight");
  at::Tensor norm = at::empty({12});
  to_f32(view, {norm.mutable_data_ptr<float>(), 12});
  EXPECT_TRUE(at::equal(norm, of(model_, "model.norm.weight")));
  EXPECT_LT(report_.at("error").get<double>(), 1e-6);

  const LoraFile less = extract({.skip_whole = true});
  EXPECT_EQ(less.others().size(), 0u);
  EXPECT_EQ(report_.at("left_out"), list({"model.embed_tokens", "model.norm", "lm_head"}));
  EXPECT_GT(report_.at("error").get<double>(), .5);
}

TEST_F(Extract, EmbeddingsAsFactorsAreTurned) {
  move("model.embed_tokens.weight", 2);
  move("lm_head.weight", 3);
  const LoraFile out = extract({.rank = 3, .embeddings = true});
  EXPECT_TRUE(out.find("model.embed_tokens")->embedding);
  EXPECT_FALSE(out.find("lm_head")->embedding);
  EXPECT_LT(off(delta(out, "model.embed_tokens").t(), difference("model.embed_tokens.weight")),
            1e-6);
  EXPECT_LT(off(delta(out, "lm_head"), difference("lm_head.weight")), 1e-6);
}

TEST_F(Extract, TiedHeadsFollowTheirEmbedding) {
  for (Values* values : {&base_, &model_}) values->pop_back();
  const std::vector<Site> sites = {
      {.name = "model.embed_tokens", .kind = SiteKind::embedding, .out = 30, .in = 12},
      {.name = kQ, .out = 10, .in = 12, .bias = true},
      {.name = kUp, .out = 20, .in = 12},
      {.name = "model.norm", .kind = SiteKind::norm, .out = 12, .in = 1},
      {.name = "lm_head",
       .out = 30,
       .in = 12,
       .output_head = true,
       .tied_to = "model.embed_tokens"}};
  move("model.embed_tokens.weight", 2);
  const LoraFile out = extract({.rank = 2, .embeddings = true}, sites);
  const at::Tensor d = difference("model.embed_tokens.weight");
  EXPECT_LT(off(delta(out, "model.embed_tokens").t(), d), 1e-6);
  EXPECT_LT(off(delta(out, "lm_head"), d), 1e-6);
  move(kQ + ".weight");
  const LoraFile copied = extract({}, sites);
  EXPECT_EQ(report_.at("whole"), list({"model.embed_tokens", "lm_head"}));
  EXPECT_EQ(copied.others().size(), 2u);
}

TEST_F(Extract, HeadsThatOnlyOneModelTies) {
  move("lm_head.weight", 2);
  base_.pop_back();  // the base ties
  const LoraFile out = extract({.rank = 12, .embeddings = true});
  const at::Tensor d = of(model_, "lm_head.weight") - of(base_, "model.embed_tokens.weight");
  EXPECT_LT(off(delta(out, "lm_head"), d), 1e-6);
}

TEST_F(Extract, TurnedWeightsAreTurned) {
  // 12 -> 20 as GPT-2 stores it.
  of(base_, kUp + ".weight") = drawn({12, 20}, 4);
  of(model_, kUp + ".weight") = of(base_, kUp + ".weight");
  move(kUp + ".weight", 2);
  const LoraFile out =
      extract({.rank = 2}, {{.name = kUp, .out = 20, .in = 12, .transposed = true}});
  EXPECT_EQ(out.find(kUp)->in, 12);
  EXPECT_EQ(out.find(kUp)->out, 20);
  EXPECT_LT(off(delta(out, kUp).t(), difference(kUp + ".weight")), 1e-6);
  EXPECT_EQ(out.config().at("fan_in_fan_out"), true);
}

TEST_F(Extract, BiasesBecomeThoseOfB) {
  move(kUp + ".weight", 2);
  move(kQ + ".bias");
  const LoraFile out = extract({.rank = 2});
  EXPECT_EQ(out.config().at("lora_bias"), true);
  EXPECT_TRUE(at::equal(out.read(*out.find(kQ)).bias, difference(kQ + ".bias")));
  EXPECT_EQ(delta(out, kQ).abs().max().item<double>(), 0);
  EXPECT_EQ(out.read(*out.find(kUp)).bias.abs().max().item<double>(), 0);
}

TEST_F(Extract, PatternsChooseModules) {
  move(kQ + ".weight");
  move(kUp + ".weight");
  move("model.norm.weight");
  EXPECT_EQ(extract({.include = {"mlp"}}).places().size(), 1u);
  EXPECT_EQ(report_.at("left_out"), list({kQ, "model.norm"}));
  const LoraFile out = extract({.exclude = {"q_.roj$"}});
  EXPECT_EQ(report_.at("left_out"), list({kQ}));
  EXPECT_EQ(report_.at("whole"), list({"model.norm"}));
  extract({.modules_to_save = {"up_proj"}});
  EXPECT_EQ(report_.at("whole"), list({kUp, "model.norm"}));
  EXPECT_NE(error_of([&] { extract({.include = {"mpl"}}); }).find("'mpl' matches no module"),
            std::string::npos);
  EXPECT_NE(error_of([&] { extract({.modules_to_save = {"up_porj"}}); }).find("there is no module"),
            std::string::npos);
}

TEST_F(Extract, NamesThatWouldPickOthersBecomePaths) {
  const std::string other = "model.layers.1.mlp.up_proj";
  for (Values* values : {&base_, &model_})
    values->push_back({other + ".weight", drawn({20, 12}, 40)});
  move(kUp + ".weight");
  EXPECT_EQ(extract().config().at("target_modules"), list({kUp}));
}

TEST_F(Extract, TheScaleGoesWhereAsked) {
  move(kUp + ".weight", 1);
  const at::Tensor d = difference(kUp + ".weight");
  const double s = d.norm().item<double>();
  for (const auto& [on, a] :
       {std::pair{ScaleOn::both, std::sqrt(s)}, {ScaleOn::a, s}, {ScaleOn::b, 1.}}) {
    const LoraFile out = extract({.rank = 1, .scale_on = on});
    EXPECT_NEAR(out.read(*out.find(kUp)).a.norm().item<double>(), a, 1e-4 * s);
    EXPECT_LT(off(delta(out, kUp), d), 1e-5);
  }
}

TEST_F(Extract, WhatDoesNotFitIsNamed) {
  const auto error = [&] { return error_of([&] { extract(); }); };
  const auto expect = [&](const std::string& part) {
    const std::string text = error();
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect("the two checkpoints do not differ");
  move("model.norm.weight");
  expect("no linear layer differs");
  move(kUp + ".weight");
  of(model_, kUp + ".weight")[3][4] = std::nanf("");
  expect("tensor model.layers.0.mlp.up_proj.weight of after holds NaN");
  of(model_, kUp + ".weight") = drawn({21, 12}, 1);
  expect("has shape [21, 12] in after and [20, 12] in before");
  model_[3].first = "model.layers.0.mlp.upproj.weight";
  expect("did you mean 'model.layers.0.mlp.up_proj.weight'");
}

TEST_F(Extract, MoreTokensMakeACopy) {
  move(kUp + ".weight");
  of(model_, "model.embed_tokens.weight") = drawn({34, 12}, 1);
  of(model_, "lm_head.weight") = drawn({34, 12}, 1);
  const LoraFile out = extract({.embeddings = true});
  EXPECT_EQ(report_.at("whole"), list({"model.embed_tokens", "lm_head"}));
}

}  // namespace
}  // namespace smidgen
