#include "smidgen/delta/adapters/combine.h"

#include <cmath>
#include <map>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

struct Update {
  int64_t out, in, rank;
  bool bias = false;
};

Json list(const std::vector<std::string>& items) {
  return items;
}

at::Tensor drawn(std::vector<int64_t> shape, uint64_t seed) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::kFloat);
}

class Adapters : public testing::Test {
 protected:
  const std::string kQ = "model.layers.0.self_attn.q_proj", kV = "model.layers.0.self_attn.v_proj";

  static NamedTensor named(const std::string& name, const at::Tensor& t) {
    return {name,
            {.format = Format::f32,
             .shape = t.sizes().vec(),
             .bytes = std::as_bytes(
                 std::span(t.const_data_ptr<float>(), static_cast<size_t>(t.numel())))}};
  }

  // An adapter folder with random factors.
  fs::path make(const std::string& name, const std::map<std::string, Update>& updates,
                const Json& settings = Json::object(), const Json& sidecar = nullptr,
                const std::map<std::string, at::Tensor>& more = {}) {
    Json config = {{"peft_type", "LORA"},
                   {"r", 4},
                   {"lora_alpha", 6},
                   {"base_model_name_or_path", "base"},
                   {"target_modules", list({"q_proj", "v_proj"})}};
    config.update(settings);
    std::vector<at::Tensor> alive;
    std::vector<NamedTensor> tensors;
    uint64_t seed = hash_of(name);
    const auto add = [&](const std::string& key, const at::Tensor& values) {
      alive.push_back(values);
      tensors.push_back(named("base_model.model." + key, alive.back()));
    };
    for (const auto& [module, u] : updates) {
      add(module + ".lora_A.weight", drawn({u.rank, u.in}, ++seed));
      add(module + ".lora_B.weight", drawn({u.out, u.rank}, ++seed));
      if (u.bias) add(module + ".lora_B.bias", drawn({u.out}, ++seed));
    }
    for (const auto& [key, values] : more) add(key, values);
    write_adapter(folder_ / name, config, tensors, sidecar);
    return folder_ / name;
  }

  static uint64_t hash_of(const std::string& name) {
    uint64_t hash = 7;
    for (const char c : name) hash = hash * 31 + static_cast<unsigned char>(c);
    return hash;
  }

  // Two adapters over q and v, and what they weigh.
  std::vector<WeightedAdapter> pair(double x, double y) {
    make("x", {{kQ, {10, 12, 4}}, {kV, {6, 12, 4}}});
    make("y", {{kQ, {10, 12, 4}}, {kV, {6, 12, 4}}}, {{"lora_alpha", 2}});
    return weigh({{"x", x}, {"y", y}});
  }

  std::vector<WeightedAdapter> weigh(const std::vector<std::pair<std::string, double>>& list) {
    std::vector<WeightedAdapter> adapters;
    for (const auto& [name, weight] : list) {
      files_.push_back(std::make_unique<LoraFile>(folder_ / name));
      adapters.push_back({files_.back().get(), weight});
    }
    return adapters;
  }

  // scale B A of a module, fp64; zeros where it has none.
  static at::Tensor delta(const LoraFile& file, const std::string& module) {
    const LoraPlace& place = *file.find(module);
    const LoraValues values = file.read(place);
    return at::matmul(values.b.to(at::kDouble), values.a.to(at::kDouble)) * place.scale;
  }
  static at::Tensor sum(const std::vector<WeightedAdapter>& adapters, const std::string& module) {
    at::Tensor total;
    for (const WeightedAdapter& adapter : adapters) {
      if (!adapter.file->find(module)) continue;
      const at::Tensor part = delta(*adapter.file, module) * adapter.weight;
      total = total.defined() ? total + part : part;
    }
    return total;
  }

  LoraFile combined(const std::vector<WeightedAdapter>& adapters, const CombineOptions& options) {
    const fs::path out = folder_ / str("out", made_++);
    report_ = combine_adapters(adapters, options, out);
    return LoraFile(out);
  }

  static double off(const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
  }

  static std::string bytes(const fs::path& file) {
    const MappedFile mapped(file);
    return {reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()};
  }

  TemporaryFolder folder_;
  std::vector<std::unique_ptr<LoraFile>> files_;
  Json report_;
  int made_ = 0;
};

TEST_F(Adapters, CatIsTheWeightedSum) {
  const auto adapters = pair(.7, -1.3);
  const LoraFile out = combined(adapters, {});
  for (const std::string& module : {kQ, kV}) {
    EXPECT_LT(off(delta(out, module), sum(adapters, module)), 1e-6);
    EXPECT_EQ(out.find(module)->rank, 8);
    EXPECT_EQ(out.find(module)->scale, 1);
  }
  EXPECT_EQ(report_.at("error"), 0.0);
}

TEST_F(Adapters, SvdIsTheSumAtFullRankAndTellsWhatItDropsBelow) {
  const auto adapters = pair(1, 1);
  EXPECT_LT(off(delta(combined(adapters, {.type = "svd", .rank = 8}), kQ), sum(adapters, kQ)),
            1e-6);
  EXPECT_LT(report_.at("error").get<double>(), 1e-6);
  const LoraFile less = combined(adapters, {.type = "svd", .rank = 3});
  double miss2 = 0, sum2 = 0;
  for (const std::string& module : {kQ, kV}) {
    const at::Tensor wanted = sum(adapters, module);
    const double miss = (delta(less, module) - wanted).norm().item<double>();
    const double norm = wanted.norm().item<double>();
    const at::Tensor s = at::linalg_svdvals(wanted);
    EXPECT_NEAR(miss, s.narrow(0, 3, s.size(0) - 3).norm().item<double>(), 1e-6 * norm);
    EXPECT_NEAR(report_.at("by_module").at(module).at("error").get<double>(), miss / norm, 1e-6);
    miss2 += miss * miss;
    sum2 += norm * norm;
  }
  EXPECT_NEAR(report_.at("error").get<double>(), std::sqrt(miss2 / sum2), 1e-6);
}

TEST_F(Adapters, OneOfWeightOneIsItselfToTheBit) {
  make("x", {{kQ, {10, 12, 4}}}, {{"use_rslora", true}, {"target_modules", list({"q_proj"})}});
  for (const char* type : {"cat", "linear", "svd"}) {
    const fs::path out = folder_ / type;
    combine_adapters(weigh({{"x", 1}}), {.type = type}, out);
    for (const char* file : {"adapter_model.safetensors", "adapter_config.json"})
      EXPECT_EQ(bytes(out / file), bytes(folder_ / "x" / file)) << type;
  }
  combine_adapters(weigh({{"x", 1}}), {.type = "ties", .density = 1}, folder_ / "ties");
  EXPECT_EQ(bytes(folder_ / "ties" / "adapter_model.safetensors"),
            bytes(folder_ / "x" / "adapter_model.safetensors"));
}

TEST_F(Adapters, WeightZeroLeavesNothing) {
  make("x", {{kQ, {10, 12, 4}}});
  make("y", {{kV, {6, 12, 4}}});
  const LoraFile out = combined(weigh({{"x", 1}, {"y", 0}}), {});
  EXPECT_EQ(out.places().size(), 1u);
  EXPECT_EQ(bytes(out.files().path / "adapter_model.safetensors"),
            bytes(folder_ / "x" / "adapter_model.safetensors"));
  EXPECT_NE(error_of([&] { combined(weigh({{"x", 0}, {"y", 0}}), {}); }).find("all weights are 0"),
            std::string::npos);
}

TEST_F(Adapters, OrderDoesNotMatter) {
  const auto adapters = pair(.7, .4);
  for (const auto& [type, density] : {std::pair<const char*, double>{"cat", 0},
                                      {"svd", 0},
                                      {"linear", 0},
                                      {"ties", .5},
                                      {"ties_svd", .5},
                                      {"magnitude_prune", .5},
                                      {"magnitude_prune_svd", .5}}) {
    CombineOptions options{.type = type};
    if (density > 0) options.density = density;
    const LoraFile one = combined(adapters, options);
    const LoraFile two = combined({adapters[1], adapters[0]}, options);
    EXPECT_LT(off(delta(one, kQ), delta(two, kQ)), 1e-5) << type;
  }
}

TEST_F(Adapters, TheSameTwiceIsItsDouble) {
  make("x", {{kQ, {10, 12, 4}}});
  const auto adapters = weigh({{"x", 1}, {"x", 1}});
  for (const char* type : {"cat", "svd"}) {
    EXPECT_LT(off(delta(combined(adapters, {.type = type}), kQ), sum(adapters, kQ)), 1e-6);
    EXPECT_LT(report_.at("error").get<double>(), 1e-6);
  }
  // Rank 4 holds it still.
  EXPECT_EQ(report_.at("rank"), 4);
}

TEST_F(Adapters, LinearSaysHowFarOffItIs) {
  const auto adapters = pair(1, -1);
  const LoraFile out = combined(adapters, {.type = "linear"});
  double miss2 = 0, sum2 = 0;
  for (const std::string& module : {kQ, kV}) {
    miss2 += (delta(out, module) - sum(adapters, module)).square().sum().item<double>();
    sum2 += sum(adapters, module).square().sum().item<double>();
  }
  EXPECT_NEAR(report_.at("error").get<double>(), std::sqrt(miss2 / sum2), 1e-5);
  EXPECT_GT(report_.at("error").get<double>(), .3);
}

TEST_F(Adapters, ScalesComeFromPatternsAndRsLora) {
  make("x", {{kQ, {10, 12, 9}}, {kV, {6, 12, 4}}},
       {{"use_rslora", true},
        {"rank_pattern", {{"q_proj", 9}}},
        {"alpha_pattern", {{"self_attn.v_proj", 3}}}});
  const LoraFile x(folder_ / "x");
  EXPECT_DOUBLE_EQ(x.find(kQ)->scale, 6. / 3);
  EXPECT_DOUBLE_EQ(x.find(kV)->scale, 3. / 2);
  make("y", {{kQ, {10, 12, 4}}, {kV, {6, 12, 4}}});
  const auto adapters = weigh({{"x", .5}, {"y", 2}});
  for (const char* type : {"cat", "svd"}) {
    const LoraFile out = combined(adapters, {.type = type});
    if (std::string(type) == "svd") continue;
    for (const std::string& module : {kQ, kV})
      EXPECT_LT(off(delta(out, module), sum(adapters, module)), 1e-6) << module;
    EXPECT_EQ(out.find(kV)->rank, 8);
    EXPECT_EQ(out.config().at("r"), 13);
    EXPECT_EQ(out.config().at("use_rslora"), false);
  }
  EXPECT_NE(error_of([&] { combined(adapters, {.type = "linear"}); }).find("have rank"),
            std::string::npos);
}

TEST_F(Adapters, BiasesOfBAreSummedToo) {
  make("x", {{kQ, {10, 12, 4, true}}, {kV, {6, 12, 4, true}}}, {{"lora_bias", true}});
  make("y", {{kQ, {10, 12, 4}}, {kV, {6, 12, 4}}});
  const auto adapters = weigh({{"x", .5}, {"y", 2}});
  const LoraFile out = combined(adapters, {});
  const at::Tensor wanted = files_[0]->read(*files_[0]->find(kQ)).bias * (.5 * 6 / 4);
  EXPECT_TRUE(at::allclose(out.read(*out.find(kQ)).bias, wanted));
  EXPECT_EQ(out.config().at("lora_bias"), true);
}

TEST_F(Adapters, ModulesAreUnited) {
  make("x", {{kQ, {10, 12, 4}}}, {{"target_modules", list({"q_proj"})}});
  make("y", {{kV, {6, 12, 4}}}, {{"target_modules", list({"v_proj"})}});
  const auto adapters = weigh({{"x", .5}, {"y", 2}});
  for (const char* type : {"cat", "linear", "svd"}) {
    const LoraFile out = combined(adapters, {.type = type});
    for (const std::string& module : {kQ, kV})
      EXPECT_LT(off(delta(out, module), sum(adapters, module)), 1e-6) << module;
    EXPECT_EQ(out.config().at("target_modules"), list({"q_proj", "v_proj"}));
  }
}

TEST_F(Adapters, ClampBoundsBothFactorsAndIsCounted) {
  const auto adapters = pair(1, 1);
  const LoraFile out = combined(adapters, {.type = "svd", .rank = 8, .clamp = .9});
  const at::Tensor wanted = sum(adapters, kQ);
  const double miss = ((delta(out, kQ) - wanted).norm() / wanted.norm()).item<double>();
  EXPECT_GT(miss, .01);
  EXPECT_NEAR(report_.at("by_module").at(kQ).at("error").get<double>(), miss, 1e-6);
}

TEST_F(Adapters, CopiesGoAlongAtWeightOne) {
  const at::Tensor norm = drawn({5}, 1), other = drawn({5}, 2);
  const Json saved = {{"modules_to_save", list({"norm"})}};
  make("x", {{kQ, {10, 12, 4}}}, saved, nullptr, {{"model.norm.weight", norm}});
  make("y", {{kQ, {10, 12, 4}}}, saved, nullptr, {{"model.norm.weight", norm}});
  make("z", {{kQ, {10, 12, 4}}}, saved, nullptr, {{"model.norm.weight", other}});
  const LoraFile out = combined(weigh({{"x", .25}, {"y", .75}}), {});
  EXPECT_EQ(out.others(), std::vector<std::string>{"base_model.model.model.norm.weight"});
  EXPECT_EQ(out.config().at("modules_to_save"), list({"norm"}));
  EXPECT_NE(error_of([&] {
              combined(weigh({{"x", .5}, {"y", .75}}), {});
            }).find("cannot be weighted by 1.25"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              combined(weigh({{"x", .5}, {"z", .5}}), {});
            }).find("bring different values of base_model.model.model.norm.weight"),
            std::string::npos);
}

TEST_F(Adapters, WhatDoesNotFitIsNamed) {
  const std::map<std::string, Update> q = {{kQ, {10, 12, 4}}};
  make("x", q, Json::object(), {{"base_digest", "aaaaaaaaaaaaaaaa"}});
  make("digest", q, Json::object(), {{"base_digest", "bbbbbbbbbbbbbbbb"}});
  make("shape", {{kQ, {10, 14, 4}}});
  make("other", {{"transformer.h.0.attn.c_attn", {10, 12, 4}}},
       {{"base_model_name_or_path", "gpt2"}});
  make("head", {{"lm_head", {10, 12, 4}}}, {{"base_model_name_or_path", ""}});
  make("dora", q, {{"use_dora", true}});
  make("ia3", q, {{"peft_type", "IA3"}});
  make("pissa", q, {{"init_lora_weights", "pissa"}});
  make("rank", q, {{"r", 8}});
  make("nan", q, Json::object(), nullptr);
  const auto error = [&](const std::string& name, CombineOptions options = {}) {
    return error_of([&] { combined(weigh({{"x", 1}, {name, 1}}), options); });
  };
  const auto expect = [&](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(error("digest"), "aaaaaaaaaaaa, and");
  expect(error("digest"), "digest bbbbbbbbbbbb");
  EXPECT_EQ(error("digest", {.allow_other_base = true}), "no error");
  expect(error("shape"), "module model.layers.0.self_attn.q_proj has a weight of [10, 12]");
  expect(error("other"), "no layers in common: ");
  expect(error("other"), " has model.layers, ");
  EXPECT_EQ(error("other", {.allow_other_base = true}), "no error");
  EXPECT_EQ(error("head"), "no error");
  expect(error("dora"), "uses DoRA");
  expect(error("ia3"), "this is IA3");
  expect(error("pissa"), "init_lora_weights");
  expect(error("rank"), "has rank 4 where the configuration gives 8");
  expect(error("x", {.type = "tise"}), "did you mean 'ties'");
  expect(error("x", {.type = "ties"}), "needs a density");
  expect(error("x", {.density = .5}), "has no use for it");
  expect(error("x", {.rank = 5}), "has no use for it");
  expect(error("x", {.type = "svd", .sign = "total"}), "has no use for it");
  expect(error("x", {.type = "svd", .rank = 8, .clamp = .1}), "no bound");
  at::Tensor broken = drawn({4, 12}, 3);
  broken[1][2] = std::nanf("");
  write_adapter(folder_ / "nan", {{"peft_type", "LORA"}, {"r", 4}},
                {named("base_model.model." + kQ + ".lora_A.weight", broken),
                 named("base_model.model." + kQ + ".lora_B.weight", drawn({10, 4}, 3))},
                nullptr, {.replace = true});
  expect(error("nan"),
         "tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight holds NaN");
}

TEST_F(Adapters, TiedHeadsStayTheEmbeddingsTranspose) {
  const auto tied = [&](const std::string& name, uint64_t seed) {
    const at::Tensor a = drawn({4, 30}, seed), b = drawn({8, 4}, seed + 1);
    make(name, {}, {{"ensure_weight_tying", true}}, nullptr,
         {{"model.embed_tokens.lora_embedding_A", a},
          {"model.embed_tokens.lora_embedding_B", b},
          {"lm_head.lora_A.weight", b.t().contiguous()},
          {"lm_head.lora_B.weight", a.t().contiguous()}});
  };
  tied("x", 1);
  tied("y", 5);
  const auto adapters = weigh({{"x", .5}, {"y", -2}});
  for (const char* type : {"cat", "svd", "linear"}) {
    const LoraFile out = combined(adapters, {.type = type});
    const LoraValues e = out.read(*out.find("model.embed_tokens")),
                     h = out.read(*out.find("lm_head"));
    EXPECT_TRUE(at::equal(e.a.t(), h.b)) << type;
    EXPECT_TRUE(at::equal(e.b.t(), h.a)) << type;
  }
}

TEST_F(Adapters, RandomOnesAreTheSumInTheMean) {
  const auto adapters = pair(1, .5);
  at::Tensor mean = at::zeros({10, 12}, at::kDouble);
  constexpr int kRuns = 200;
  for (uint64_t seed = 0; seed < kRuns; ++seed) {
    mean += delta(
        combined(adapters, {.type = "dare_linear_svd", .density = .8, .rank = 10, .seed = seed}),
        kQ);
  }
  const at::Tensor wanted = sum(adapters, kQ);
  // Each element has a deviation of |w s x| sqrt((1 - density) / density / kRuns).
  EXPECT_LT((mean / kRuns - wanted).norm().item<double>(), .1 * wanted.norm().item<double>());
}

}  // namespace
}  // namespace smidgen
