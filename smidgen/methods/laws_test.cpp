// Laws that hold for every method, run over the whole registry and the storage formats: a new entry
// is tested by being listed, and by every law that its capabilities claim.
#include <unistd.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/fs.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/methods/adapter_set.h"
#include "smidgen/methods/disturb_test.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

// A configuration that brings in what the default leaves out.
struct Variant {
  const char* name;
  Json config;
  bool scalable = true;
};

struct Case {
  std::string method;
  std::string base_format;
  bool tied;
  Variant variant;
};

// What every adapter can train beside its method, and then what each method has of its own.
std::vector<Variant> variants(const std::string& method) {
  std::vector<Variant> all = {{"plain", Json::object()}};
  if (methods().find(method).capabilities().artefact != Artefact::adapter) return all;
  all.push_back({"biases", {{"bias", "all"}}, false});
  all.push_back(
      {"copies",
       {{"modules_to_save", {"model.norm", "layers.1.mlp", "lm_head"}}, {"bias", method + "_only"}},
       false});
  all.push_back({"tokens", {{"token_rows", {3, 9, 38}}}, false});
  all.push_back({"own_tokens", {{"token_rows", {3, 9}}, {"head_token_rows", {9, 14}}}, false});
  if (method == "lora") {
    all.push_back({"embeddings", {{"target", {"embed_tokens", "q_proj", "lm_head"}}}});
    all.push_back(
        {"one_tied_update", {{"target", {"lm_head", "up_proj"}}, {"ensure_weight_tying", true}}});
    all.push_back({"own_bias", {{"target", {"q_proj", "v_proj"}}, {"lora_bias", true}}});
    all.push_back({"patterns",
                   {{"rank_pattern", {{"layers.0.*_proj", 2}, {"down_proj", 5}}},
                    {"alpha_pattern", {{"up_proj", 30}}},
                    {"layers", {1}},
                    {"rslora", true}}});
  }
  return all;
}

bool any(const Capabilities&) {
  return true;
}

// Every method whose capabilities pass, with tied and with own head: its plain form over every
// format, its variants on fp32.
std::vector<Case> cases(bool (*pass)(const Capabilities&) = any) {
  std::vector<Case> all;
  for (const std::string& method : methods().names()) {
    if (!pass(methods().find(method).capabilities())) continue;
    for (const std::string& format : weight_formats().names()) {
      if (format == "native") continue;  // one of the others
      for (const bool tied : {false, true}) {
        for (const Variant& variant : variants(method)) {
          if (format == "fp32" || variant.config.empty())
            all.push_back({method, format, tied, variant});
        }
      }
    }
  }
  return all;
}

// A configuration with every number away from its default: with alpha = rank a forgotten scale
// would go unseen.
Json unusual(const Json& fields) {
  Json config = Json::object();
  for (const Json& field : fields) {
    const std::string name = field["name"], type = field["type"];
    if (!field.contains("default") || !field["default"].is_number()) continue;
    const double value = field["default"];
    if (name == "x1_factor" || name == "x2_factor") {
      config[name] = 0.25;  // factors of which exact reversal takes only 1 / k
      continue;
    }
    const double moved = type == "int" ? value + 3 : 1.5 * value + 0.25;
    if (moved > field.value("max", moved)) continue;
    if (type == "int") {
      config[name] = static_cast<int64_t>(moved);
    } else {
      config[name] = moved;
    }
  }
  return config;
}

class MethodLaws : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    model_ = make_tiny_llama({.tied = GetParam().tied, .attention_bias = true},
                             {.dtype = "fp32", .base_format = GetParam().base_format});
    config_ = unusual(methods().find(GetParam().method).fields());
    for (const auto& [key, value] : GetParam().variant.config.items()) config_[key] = value;
    adapter_ = Adapter::create(*model_, GetParam().method, config_, 5);
    const std::vector<int32_t> first = {3, 14, 15, 9, 2, 6, 5},
                               second = {35, 8, 9, 7, 9, 3, 2, 38, 46};
    stream_ = make_stream({first, second}, {1, 1});
    bare_ = make_stream({first, second}, {0, 0});
  }

  at::Tensor logits(const Stream& stream) const {
    const torch::NoGradGuard no_grad;
    return model_->logits(model_->forward(stream), *stream.rows);
  }

  static double distance(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).abs().max() / b.abs().max()).item<double>();
  }

  // How far one rounding of a weight to the base's format may move the logits.
  double rounding() const { return GetParam().base_format == "bf16" ? 6e-2 : 2e-5; }

  std::unique_ptr<Model> model_;
  Json config_;
  std::unique_ptr<Adapter> adapter_;
  Stream stream_, bare_;
  const std::vector<int32_t> ids_ = {3, 14, 15, 9, 2};
};

// What a capability promises.
class FreshLaws : public MethodLaws {};
class MergeLaws : public MethodLaws {};
class LinearLaws : public MethodLaws {};
class UnscalableLaws : public MethodLaws {};
class BatchLaws : public MethodLaws {};
class AdapterFileLaws : public MethodLaws {};

TEST_P(FreshLaws, AFreshAdapterIsANoOpToTheBit) {
  const at::Tensor before = logits(bare_);
  adapter_->attach(*model_, 1);
  EXPECT_TRUE(at::equal(logits(stream_), before));
}

// What the host reads off low_rank() and fuses with its product is what add() and its default
// backward say. Without this, a wrong scale in one of the two shows only in training.
TEST_P(MethodLaws, LowRankFormIsTheHook) {
  disturb(*adapter_);
  adapter_->attach(*model_, 1);
  for (const Site& site : model_->sites()) {
    for (const AttachmentPtr& a : model_->find(site.name).slots().at(1)) {
      const auto form = a->hooks().add ? a->low_rank(a->parameters()) : std::nullopt;
      if (!form) continue;
      const at::Tensor x = at::randn({5, site.in}), dy = at::randn({5, site.out});
      const at::Tensor u = at::linear(x, form->a).mul(form->scale);
      const at::Tensor y = a->add(x, {}, a->parameters());
      EXPECT_LT(distance(at::linear(u, form->b), y), 1e-5) << site.name;
      const at::Tensor v = at::matmul(dy, form->b).mul(form->scale);
      const auto plain = a->Attachment::add_backward(x, {}, a->parameters(), dy);
      const Tensors own =
          a->low_rank_backward(a->parameters(), at::matmul(v.t(), x), at::matmul(dy.t(), u));
      EXPECT_LT(distance(at::matmul(v, form->a), plain.dx), 1e-5) << site.name;
      ASSERT_EQ(own.size(), plain.parameters.size());
      for (size_t k = 0; k < own.size(); ++k)
        EXPECT_LT(distance(own[k], plain.parameters[k]), 1e-5) << site.name << " " << k;
    }
  }
}

TEST_P(MethodLaws, ADisturbedAdapterIsNotANoOp) {
  const at::Tensor before = logits(bare_);
  disturb(*adapter_);
  adapter_->attach(*model_, 1);
  EXPECT_GT(distance(logits(stream_), before), 1e-2);
  EXPECT_TRUE(at::equal(logits(bare_), before)) << "slot 0 must stay the bare base";
  Adapter::detach(*model_, 1);
  EXPECT_TRUE(at::equal(logits(stream_), before)) << "a detached adapter must leave nothing behind";
}

TEST_P(MergeLaws, MergedEqualsAttachedAndUnmergingRestoresTheBits) {
  const at::Tensor before = logits(bare_);
  disturb(*adapter_);
  adapter_->attach(*model_, 1);
  const at::Tensor attached = logits(stream_);
  Adapter::detach(*model_, 1);
  merge(*model_, *adapter_);
  EXPECT_LT(distance(logits(bare_), attached), rounding());
  EXPECT_GT(distance(logits(bare_), before), 1e-2);
  EXPECT_THROW(merge(*model_, *adapter_), Error) << "merging twice";
  unmerge(*model_);
  EXPECT_TRUE(at::equal(logits(bare_), before));
}

TEST_P(MergeLaws, ACombinationWithWeightOneIsTheAdapter) {
  disturb(*adapter_);
  const auto combined = combine(*model_, {adapter_.get()}, {1.0});
  for (const SitePlan& site : adapter_->plan().sites) {
    const HostSite at = model_->find(site.site.name);
    const auto own = adapter_->part(site).delta(site, adapter_->values(site), {at.host, at.index});
    if (!own) continue;
    EXPECT_TRUE(at::equal(tile(combined.weights.at(site.site.name), 0, site.site.out),
                          tile(*own, 0, site.site.out)))
        << site.site.name;
  }
}

TEST_P(LinearLaws, HalvesOfALinearAdapterAddUpToIt) {
  disturb(*adapter_);
  const auto whole = combine(*model_, {adapter_.get()}, {1.0}).weights;
  const auto halves = combine(*model_, {adapter_.get(), adapter_.get()}, {0.25, 0.75}).weights;
  for (const auto& [site, delta] : whole) {
    const int64_t rows = model_->find(site).site().out;
    EXPECT_TRUE(at::allclose(tile(halves.at(site), 0, rows), tile(delta, 0, rows), 1e-5, 1e-6))
        << site;
    EXPECT_NEAR(norm(delta), tile(delta, 0, rows).to(at::kDouble).norm().item<double>(),
                1e-4 * (1 + norm(delta)))
        << site;
  }
}

TEST_P(LinearLaws, AScaledAdapterIsTheSameAttachedAndMerged) {
  disturb(*adapter_);
  const at::Tensor before = logits(bare_);
  adapter_->attach(*model_, 1, 0.4);
  const at::Tensor attached = logits(stream_);
  EXPECT_GT(distance(attached, before), 1e-2);
  merge(*model_, {adapter_.get()}, {0.4});
  EXPECT_LT(distance(logits(bare_), attached), rounding());
}

TEST_P(LinearLaws, TwoAdaptersInOneSlotAreTheirSumMerged) {
  disturb(*adapter_);
  AdapterSet set(*model_);
  set.add("a", std::move(adapter_));
  disturb(set.add("b", Adapter::create(*model_, GetParam().method, config_, 6)), -0.3);
  const int sum = set.slot(Mix{{"a", 0.5}, {"b", -0.25}});
  const at::Tensor attached = logits(make_stream(ids_, sum));
  merge(*model_, {&set.find("a"), &set.find("b")}, {0.5, -0.25});
  EXPECT_LT(distance(logits(make_stream(ids_, 0)), attached), rounding());
}

TEST_P(BatchLaws, SlotsOfASetAreSwitchedAndTakenAway) {
  disturb(*adapter_);
  const at::Tensor before = logits(make_stream(ids_, 0));
  AdapterSet set(*model_);
  set.add("a", std::move(adapter_));
  disturb(set.add("b", Adapter::create(*model_, GetParam().method, config_, 6)), -0.3);
  EXPECT_THROW(set.add("a", nullptr), Error);
  EXPECT_THROW(set.slot("c"), Error);
  const int a = set.slot("a"), b = set.slot("b");
  EXPECT_NE(a, b);
  EXPECT_EQ(set.slot("a"), a);
  EXPECT_EQ(set.slot(Mix{}), 0);
  const at::Tensor with_a = logits(make_stream(ids_, a)), with_b = logits(make_stream(ids_, b));
  EXPECT_GT(distance(with_a, with_b), 1e-2);
  set.remove("a");
  EXPECT_TRUE(at::equal(logits(make_stream(ids_, a)), before));
  EXPECT_TRUE(at::equal(logits(make_stream(ids_, b)), with_b));
}

TEST_P(AdapterFileLaws, AFileRoundTripIsBitwise) {
  disturb(*adapter_);
  const fs::path folder = fs::temp_directory_path() / str("smidgen-laws-", getpid());
  remove_tree(folder);
  make_folder(folder);
  adapter_->save(folder / "a", "base", {{"note", 1}});
  const auto again = Adapter::load(*model_, folder / "a");
  EXPECT_EQ(again->store().digest(), adapter_->store().digest());
  EXPECT_EQ(again->method_name(), adapter_->method_name());
  again->save(folder / "b", "base", {{"note", 1}});
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json", "smidgen.json"}) {
    EXPECT_EQ(read_file(folder / "a" / file), read_file(folder / "b" / file)) << file;
  }
  remove_tree(folder);
}

TEST_P(UnscalableLaws, HalfACopyIsNotACopy) {
  EXPECT_THROW(combine(*model_, {adapter_.get()}, {0.5}), Error);
  EXPECT_THROW(adapter_->attach(*model_, 1, 0.5), Error);
  adapter_->attach(*model_, 1);
}

TEST_P(BatchLaws, RowsOfDifferentSlotsEqualTheirSoloRuns) {
  disturb(*adapter_);
  const auto other = Adapter::create(*model_, GetParam().method, config_, 6);
  disturb(*other, -0.3);
  adapter_->attach(*model_, 1);
  other->attach(*model_, 2);
  const at::Tensor mixed = logits(make_stream({ids_, ids_, ids_}, {0, 1, 2}));
  for (const int slot : {0, 1, 2}) {
    const at::Tensor solo = logits(make_stream(ids_, slot));
    EXPECT_LT(distance(mixed.narrow(0, 5 * slot, 5), solo), 1e-5) << "slot " << slot;
  }
}

TEST_P(MethodLaws, ReferenceEqualsFastInLossAndEveryGradient) {
  disturb(*adapter_);
  adapter_->attach(*model_, 1);
  Batch batch;
  batch.main = stream_;
  batch.targets = next_token_targets(stream_);
  std::map<KernelsMode, double> loss;
  std::map<KernelsMode, std::map<std::string, at::Tensor>> grads;
  for (const KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    adapter_->store().zero_grad();
    const at::Tensor sum = model_->loss_sum(model_->forward(batch.main), batch);
    sum.backward();
    loss[mode] = sum.item<double>();
    for (const auto& p : adapter_->store().parameters())
      grads[mode][p->spec().path()] = p->gradient().clone();
  }
  EXPECT_NEAR(loss[KernelsMode::fast], loss[KernelsMode::ref], 1e-5 * loss[KernelsMode::ref]);
  for (const auto& [path, ref] : grads[KernelsMode::ref]) {
    const double size = ref.abs().max().item<double>();
    EXPECT_GT(size, 0) << path << " has no gradient";
    EXPECT_LT((grads[KernelsMode::fast][path] - ref).abs().max().item<double>(), 1e-4 * size)
        << path;
  }
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return str(info.param.method, "_", info.param.base_format,
             info.param.tied ? "_tied_" : "_untied_", info.param.variant.name);
}

INSTANTIATE_TEST_SUITE_P(Registry, MethodLaws, testing::ValuesIn(cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Registry, FreshLaws, testing::ValuesIn(cases([](const Capabilities& c) {
                           return c.starts_as_base;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Registry, MergeLaws, testing::ValuesIn(cases([](const Capabilities& c) {
                           return c.mergeable;
                         })),
                         name_of);
// Copies of the base's values belong to no delta that can be scaled, and full tuning is one copy.
std::vector<Case> scaled(bool can) {
  std::vector<Case> all = cases([](const Capabilities& c) { return c.linear; });
  std::erase_if(all, [&](const Case& c) {
    const bool copies =
        methods().find(c.method).capabilities().artefact == Artefact::model || !c.variant.scalable;
    return copies == can;
  });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Registry, LinearLaws, testing::ValuesIn(scaled(true)), name_of);
INSTANTIATE_TEST_SUITE_P(Registry, UnscalableLaws, testing::ValuesIn(scaled(false)), name_of);
INSTANTIATE_TEST_SUITE_P(Registry, BatchLaws, testing::ValuesIn(cases([](const Capabilities& c) {
                           return c.batchable;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Registry, AdapterFileLaws,
                         testing::ValuesIn(cases([](const Capabilities& c) {
                           return c.artefact == Artefact::adapter;
                         })),
                         name_of);

}  // namespace
}  // namespace smidgen
