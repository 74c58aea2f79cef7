#include "smidgen/delta/compress/compress.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/compress/alpha.h"
#include "smidgen/delta/compress/balance.h"
#include "smidgen/delta/compress/decompress.h"
#include "smidgen/delta/compress/select.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/model_files.h"

namespace smidgen {
namespace {

using Values = std::vector<float>;
constexpr const char* kA = "base_model.model.x.lora_A.weight";
constexpr const char* kB = "base_model.model.x.lora_B.weight";

Values normal(size_t count, uint64_t seed = 1) {
  const Rng rng(seed, "compress");
  Values values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(0.01 * rng.normal(i));
  return values;
}

// One value of a few, so that many tie.
Values coarse(size_t count) {
  Values values = normal(count);
  for (float& x : values) x = std::round(x * 100) / 100;
  return values;
}

NamedTensor tensor(const std::string& name, const Values& values, std::vector<int64_t> shape = {}) {
  if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
  return {name, {Format::f32, std::move(shape), std::as_bytes(std::span(values))}};
}

class CompressTest : public testing::Test {
 protected:
  // A LoRA adapter whose factors are these.
  FlatVector lora(const Values& a, const Values& b = {0.5f}) {
    const fs::path folder = folder_ / str("adapter", count_++);
    write_adapter(folder, {{"peft_type", "LORA"}, {"r", 1}}, {tensor(kB, b), tensor(kA, a)},
                  nullptr);
    return adapter_vector(folder);
  }

  Values restored(const Compressed& compressed) {
    const fs::path folder = folder_ / str("delta", count_++);
    write_delta(folder, compressed.contents);
    const DeltaFiles files = read_delta(folder);
    Values all;
    for (const DeltaTensor& t : files.tensors) {
      Values some(static_cast<size_t>(t.elements()));
      TensorDelta(files, t).read(0, some);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  static Values whole(const FlatVector& vector) {
    Values all;
    for (const FlatPiece& piece : vector.pieces(1 << 20)) {
      Values some(static_cast<size_t>(piece.count));
      vector.read(piece, some);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  int count_ = 0;
  TemporaryFolder folder_;
};

// By sorting: the k largest magnitudes, of equal ones those that come first.
std::vector<bool> largest(const Values& values, size_t k) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t i, size_t j) { return std::fabs(values[i]) > std::fabs(values[j]); });
  std::vector<bool> kept(values.size());
  for (size_t i = 0; i < k; ++i) kept[order[i]] = values[order[i]] != 0;
  return kept;
}

TEST_F(CompressTest, KeepsTheLargestOfTheWholeVector) {
  const size_t many = 700'000;  // more than is looked at without a sample, and several blocks
  for (const Values& a : {Values{0.25f}, Values{0, 0, 3, 0}, normal(1000), coarse(1000),
                          normal(many), coarse(many), Values(many, -0.125f)}) {
    const FlatVector vector = lora(a);
    const Values tau = whole(vector);
    for (const double density : {1e-4, 0.003, 0.05, 0.2, 0.5, 0.999, 1.0}) {
      const auto k = static_cast<size_t>(static_cast<double>(tau.size()) * density);
      const std::vector<bool> kept = largest(tau, k);
      for (const char* codec : {"masks", "rice", "rans"}) {
        const Compressed compressed = compress(vector, {.codec = codec, .density = density});
        const auto scale = static_cast<float>(compressed.report.scale);
        const Values back = restored(compressed);
        ASSERT_EQ(back.size(), tau.size());
        size_t wrong = 0;
        for (size_t i = 0; i < tau.size(); ++i)
          wrong += back[i] != (kept[i] ? std::copysign(scale, tau[i]) : 0.0f);
        EXPECT_EQ(wrong, 0u) << tau.size() << " " << density << " " << codec;
      }
    }
  }
}

TEST_F(CompressTest, PrunedValuesStayWhatTheyAre) {
  const FlatVector vector = lora(normal(300'000));
  const Values tau = whole(vector);
  const Compressed compressed = compress(vector, {.mode = CompressMode::prune, .density = 0.1});
  const std::vector<bool> kept = largest(tau, tau.size() / 10);
  const Values back = restored(compressed);
  double lost = 0, all = 0;
  for (size_t i = 0; i < tau.size(); ++i) {
    ASSERT_EQ(back[i], kept[i] ? tau[i] : 0.0f) << i;
    lost += std::pow(tau[i] - back[i], 2);
    all += std::pow(tau[i], 2);
  }
  EXPECT_NEAR(compressed.report.error, std::sqrt(lost / all), 1e-9);
}

// Scales of a Gaussian vector, in standard deviations, and what they lose: closed forms.
TEST_F(CompressTest, GaussianClosedForms) {
  const FlatVector vector = lora(normal(1'000'000));
  const Values tau = whole(vector);
  struct Row {
    double density, fit, error;
  };
  // fit = E[|x| | kept] = phi(q) / (p/2), q the quantile; error^2 = 1 - p fit^2.
  for (const Row& row :
       {Row{0.05, 2.3378, 0.8525}, Row{0.1, 2.0627, 0.7580}, Row{0.2, 1.7550, 0.6197},
        Row{0.5, 1.2711, 0.4384}, Row{1.0, 0.7979, 0.6028}}) {
    const Compressed stc = compress(vector, {.mode = CompressMode::stc, .density = row.density});
    const CompressReport& r = stc.report;
    EXPECT_NEAR(r.sigma, 0.01, 2e-5);
    EXPECT_NEAR(r.fit / r.sigma, row.fit, 4e-3) << row.density;
    EXPECT_NEAR(r.error, row.error, 2e-3) << row.density;
    const Values back = restored(stc);
    double lost = 0, all = 0;
    for (size_t i = 0; i < tau.size(); ++i) {
      lost += std::pow(static_cast<double>(tau[i]) - back[i], 2);
      all += std::pow(static_cast<double>(tau[i]), 2);
    }
    EXPECT_NEAR(r.error, std::sqrt(lost / all), 1e-6) << row.density;
    const Compressed kept_norm = compress(vector, {.density = row.density});
    EXPECT_NEAR(kept_norm.report.alpha(), 1 / std::sqrt(row.density), 2e-3);
    EXPECT_NEAR(kept_norm.report.scale * std::sqrt(static_cast<double>(kept_norm.report.kept)),
                std::sqrt(all), 1e-5 * std::sqrt(all));
  }
}

TEST_F(CompressTest, ScalesAndMoments) {
  const Values a = {3, -1, 0, 2, -4};
  const FlatVector vector = lora(a, {2});
  // d = 6, mean 1/3, sum of squares 34.
  const double sigma = std::sqrt((34 - 6.0 / 9) / 5);
  const Compressed fixed = compress(vector, {.density = 0.5, .alpha = 1.5});
  EXPECT_NEAR(fixed.report.sigma, sigma, 1e-12);
  EXPECT_NEAR(fixed.report.norm, std::sqrt(34), 1e-12);
  EXPECT_EQ(restored(fixed),
            (Values{static_cast<float>(1.5 * sigma), 0, 0, static_cast<float>(1.5 * sigma),
                    -static_cast<float>(1.5 * sigma), 0}));
  EXPECT_EQ(compress(vector, {.mode = CompressMode::stc, .density = 0.5}).report.scale, 3);
  Compressed other = fixed;
  set_alpha(other, 2);
  EXPECT_EQ(other.report.scale, static_cast<double>(static_cast<float>(2 * sigma)));
  EXPECT_EQ(other.contents.json["scale"], other.report.scale);
  // Magnitudes 4 3 2 2 1 0: the third is the threshold of int(0.4 * 6) = 2, and 2 ties with it.
  EXPECT_EQ(compress(vector, {.density = 0.4, .reference = true}).report.kept, 4);
  EXPECT_EQ(compress(vector, {.density = 0.4}).report.kept, 2);
  EXPECT_EQ(compress(vector, {.density = 1, .reference = true}).report.kept, 5);
  const FlatVector flat = lora(Values(9, 0.1f), {0.1f});
  EXPECT_EQ(compress(flat, {.density = 0.5}).report.sigma, 0);
  EXPECT_NE(error_of([&] {
              compress(flat, {.density = 0.5, .alpha = 1});
            }).find("standard deviation is 0"),
            std::string::npos);
}

TEST_F(CompressTest, CodecsOfValues) {
  const FlatVector vector = lora(normal(4096), normal(64, 2));
  const Values tau = whole(vector);
  for (const auto& [codec, error] : std::vector<std::pair<const char*, double>>{
           {"bf16", 0.003}, {"int8", 0.02}, {"int4", 0.11}, {"sign1", 0.62}}) {
    const Compressed compressed = compress(vector, {.codec = codec});
    const Values back = restored(compressed);
    double lost = 0, all = 0;
    for (size_t i = 0; i < tau.size(); ++i) {
      lost += std::pow(static_cast<double>(tau[i]) - back[i], 2);
      all += std::pow(static_cast<double>(tau[i]), 2);
    }
    EXPECT_NEAR(compressed.report.error, std::sqrt(lost / all), 1e-9) << codec;
    EXPECT_LT(compressed.report.error, error) << codec;
    EXPECT_GT(compressed.report.error, error / 10) << codec;
  }
}

TEST_F(CompressTest, AnAdapterComesBackAsAFolder) {
  const Values a = normal(64), b = normal(32, 2), magnitude = normal(8, 3), still(4, 0.0f);
  const std::string dora = "base_model.model.x.lora_magnitude_vector.weight";
  const std::string idle = "base_model.model.y.lora_B.weight";
  const Json config = {{"peft_type", "LORA"}, {"r", 4}, {"use_dora", true}};
  write_adapter(
      folder_ / "a", config,
      {tensor(kA, a, {4, 16}), tensor(kB, b, {8, 4}), tensor(dora, magnitude), tensor(idle, still)},
      {{"base_digest", "abc"}});
  const FlatVector vector = adapter_vector(folder_ / "a");
  EXPECT_EQ(vector.elements(), 96);
  EXPECT_EQ(vector.unmoved, (std::vector<std::string>{idle}));
  write_delta(folder_ / "d", compress(vector, {.density = 0.25}).contents);
  EXPECT_EQ(read_delta(folder_ / "d").base, "abc");
  // Opens as it is, and decompressed.
  decompress_adapter(read_delta(folder_ / "d"), folder_ / "back");
  const AdapterFiles compressed = read_adapter(folder_ / "d"),
                     back = read_adapter(folder_ / "back");
  EXPECT_EQ(compressed.config, config);
  EXPECT_EQ(back.config, config);
  EXPECT_EQ(back.sidecar["base_digest"], "abc");
  ASSERT_EQ(back.tensors->names().size(), 4u);
  int64_t kept = 0;
  for (const std::string& name : back.tensors->names()) {
    const TensorView x = compressed.tensors->view(name), y = back.tensors->view(name);
    EXPECT_EQ(x.shape, y.shape);
    ASSERT_TRUE(std::equal(x.bytes.begin(), x.bytes.end(), y.bytes.begin(), y.bytes.end())) << name;
    Values values(static_cast<size_t>(y.elements()));
    to_f32(y, values);
    if (name == dora) {
      EXPECT_EQ(values, magnitude);
    } else {
      kept += std::count_if(values.begin(), values.end(), [](float v) { return v != 0; });
    }
  }
  EXPECT_EQ(kept, 24);
  for (const char* again : {"d", "back"})
    EXPECT_NE(error_of([&] { adapter_vector(folder_ / again); }).find("compressed"),
              std::string::npos);
  write_adapter(folder_ / "other", {{"peft_type", "VERA"}}, {tensor(kA, a)}, nullptr);
  EXPECT_NE(error_of([&] { adapter_vector(folder_ / "other"); }).find("type VERA"),
            std::string::npos);
}

TEST_F(CompressTest, OnlyWholePairsOfFactorsAreBalanced) {
  const std::string bias = "base_model.model.x.lora_B.bias",
                    lone = "base_model.model.y.lora_A.weight";
  const std::string flat = "base_model.model.z.lora_A.weight",
                    turned = "base_model.model.z.lora_B.weight";
  const Values a = normal(64), b = normal(32, 2), c = normal(32, 3), same(16, 0.5f);
  write_adapter(folder_ / "a", {{"peft_type", "LORA"}, {"r", 4}},
                {tensor(kA, a), tensor(kB, b), tensor(bias, c), tensor(lone, c), tensor(flat, same),
                 tensor(turned, c)},
                nullptr);
  FlatVector vector = adapter_vector(folder_ / "a");
  const Values before = whole(vector);
  EXPECT_EQ(balance_factors(vector), 1);
  for (const FlatTensor& t : vector.tensors) {
    if (t.name == kA || t.name == kB)
      EXPECT_NE(t.factor, 1) << t.name;
    else
      EXPECT_EQ(t.factor, 1) << t.name;
  }
  const auto factor = [&](const std::string& name) {
    return std::find_if(vector.tensors.begin(), vector.tensors.end(),
                        [&](const FlatTensor& t) { return t.name == name; })
        ->factor;
  };
  EXPECT_NEAR(factor(kA) * factor(kB), 1, 1e-6);
  EXPECT_NE(whole(vector), before);
}

TEST_F(CompressTest, Ia3StartsAtOne) {
  const Values l = {1, 1.5f, 0.5f, 1.25f};
  write_adapter(folder_ / "a", {{"peft_type", "IA3"}},
                {tensor("base_model.model.x.ia3_l", l, {4, 1})}, nullptr);
  const FlatVector vector = adapter_vector(folder_ / "a");
  EXPECT_EQ(whole(vector), (Values{0, 0.5f, -0.5f, 0.25f}));
  write_delta(folder_ / "d",
              compress(vector, {.mode = CompressMode::stc, .density = 0.5}).contents);
  const AdapterFiles restored = read_adapter(folder_ / "d");
  const TensorView back = restored.tensors->view("base_model.model.x.ia3_l");
  Values values(4);
  to_f32(back, values);
  EXPECT_EQ(values, (Values{1, 1.5f, 0.5f, 1}));
}

TEST_F(CompressTest, NotANumberIsNamed) {
  Values a = normal(5000);
  a[4321] = std::nanf("");
  const FlatVector vector = lora(a);
  for (const char* codec : {"rice", "int8"}) {
    const std::string error = error_of([&] { compress(vector, {.codec = codec}); });
    EXPECT_NE(error.find("not a finite number"), std::string::npos) << error;
    EXPECT_NE(error.find(kA), std::string::npos) << error;
  }
  EXPECT_NE(error_of([&] { lora({0, 0}, {0}); }).find("nothing moved"), std::string::npos);
}

class ModelDeltaTest : public CompressTest {
 protected:
  void model(const std::string& name, const std::vector<NamedTensor>& tensors,
             const std::string& config = "{\"model_type\": \"x\"}") {
    make_folder(folder_ / name);
    write_file(folder_ / name / "config.json", config);
    write_safetensors(folder_ / name / "model.safetensors", tensors);
  }
  std::string at(const char* name) { return (folder_ / name).string(); }
};

TEST_F(ModelDeltaTest, BasePlusDifference) {
  const Values e0 = normal(300'000), w0 = normal(640, 2), n0 = normal(16, 3);
  Values e1 = e0, w1 = w0;
  for (size_t i = 0; i < e1.size(); ++i) e1[i] += 0.1f * normal(1, i)[0];
  for (size_t i = 0; i < w1.size(); ++i) w1[i] += 0.1f * normal(1, i + 7)[0];
  const auto tensors = [&](const Values& e, const Values& w) {
    return std::vector<NamedTensor>{tensor("embed", e, {3000, 100}), tensor("head", e, {3000, 100}),
                                    tensor("w", w, {10, 64}), tensor("norm", n0)};
  };
  model("base", tensors(e0, w0));
  model("tuned", tensors(e1, w1), "{\"model_type\": \"x\", \"tuned\": true}");
  write_file(folder_ / "base" / "tokenizer.json", "{}");
  const FlatVector vector = model_vector(at("base"), at("tuned"));
  EXPECT_EQ(vector.elements(), 300'640);
  EXPECT_EQ(vector.copies, (std::map<std::string, std::string>{{"head", "embed"}}));
  EXPECT_EQ(vector.unmoved, (std::vector<std::string>{"norm"}));
  for (const char* codec : {"rice", "rans", "int8"}) {
    const Compressed compressed = compress(vector, {.codec = codec});
    const Values back = restored(compressed);
    const std::string d = str("d-", codec), out = str("out-", codec);
    write_delta(folder_ / d, compressed.contents);
    decompress_model(read_delta(folder_ / d), at("base"), folder_ / out);
    const ModelFiles files = open_model((folder_ / out).string());
    EXPECT_TRUE(files.config.contains("tuned"));
    EXPECT_TRUE(path_exists(folder_ / out / "tokenizer.json"));
    Values e(e0.size()), head(e0.size()), w(w0.size()), n(n0.size());
    to_f32(files.tensors->view("embed"), e);
    to_f32(files.tensors->view("head"), head);
    to_f32(files.tensors->view("w"), w);
    to_f32(files.tensors->view("norm"), n);
    EXPECT_EQ(e, head);
    EXPECT_EQ(n, n0);
    for (size_t i = 0; i < e.size(); ++i) ASSERT_EQ(e[i], e0[i] + back[i]) << i;
    for (size_t i = 0; i < w.size(); ++i) ASSERT_EQ(w[i], w0[i] + back[e.size() + i]) << i;
  }
}

TEST_F(ModelDeltaTest, SaysWhatDoesNotFit) {
  const Values w = normal(64), v = normal(64, 2);
  model("base", {tensor("w", w, {8, 8})});
  model("tuned", {tensor("w", v, {8, 8})});
  model("wider", {tensor("w", v, {4, 16})});
  model("more", {tensor("w", v, {8, 8}), tensor("u", v)});
  const auto error = [&](const char* base, const char* tuned) {
    return error_of([&] { model_vector(at(base), at(tuned)); });
  };
  EXPECT_NE(error("base", "base").find("nothing moved"), std::string::npos);
  EXPECT_NE(error("base", "wider").find("shape [4, 16]"), std::string::npos);
  EXPECT_NE(error("base", "more").find("'u' is not in the base"), std::string::npos);
  EXPECT_NE(error("more", "base").find("'u' is only in the base"), std::string::npos);
  write_delta(folder_ / "d", compress(model_vector(at("base"), at("tuned")), {}).contents);
  const DeltaFiles delta = read_delta(folder_ / "d");
  const auto restore = [&](const char* base, bool other) {
    return error_of([&] { decompress_model(delta, at(base), folder_ / "out", other); });
  };
  EXPECT_NE(restore("tuned", false).find("digest"), std::string::npos);
  EXPECT_NE(restore("wider", true).find("another base"), std::string::npos);
  EXPECT_NE(error_of([&] { decompress_adapter(delta, folder_ / "out"); }).find("--base"),
            std::string::npos);
  EXPECT_EQ(restore("tuned", true), "no error");
}

TEST_F(CompressTest, TunedAlphaIsTheOneWithTheLowestScore) {
  Compressed compressed = compress(lora(normal(1000)), {.density = 0.2});
  const auto score = [](const Compressed& c) { return std::pow(c.report.alpha() - 3.9, 2); };
  const std::vector<AlphaScore> all = tune_alpha(compressed, alpha_grid(), score);
  EXPECT_EQ(all.size(), alpha_grid().size());
  EXPECT_NEAR(compressed.report.alpha(), 4, 1e-6);
  EXPECT_NEAR(compressed.contents.json["alpha"].get<double>(), 4, 1e-6);
}

}  // namespace
}  // namespace smidgen
