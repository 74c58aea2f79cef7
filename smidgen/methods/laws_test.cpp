// Laws that hold for every method, run over the whole registry and the storage formats: a new entry
// is tested by being listed, and by every law that its capabilities claim.
#include <unistd.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/fs.h"
#include "smidgen/base/rng.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

struct Case {
  std::string method;
  std::string base_format;
  bool tied;
};

bool any(const Capabilities&) {
  return true;
}

// Every method whose capabilities pass, over every format, with tied and with own head.
std::vector<Case> cases(bool (*pass)(const Capabilities&) = any) {
  std::vector<Case> all;
  for (const std::string& method : methods().names()) {
    if (!pass(methods().find(method).capabilities())) continue;
    for (const std::string& format : weight_formats().names()) {
      for (const bool tied : {false, true}) all.push_back({method, format, tied});
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
    adapter_ = Adapter::create(*model_, GetParam().method, config_, 5);
    const std::vector<int32_t> first = {3, 14, 15, 9, 2, 6, 5},
                               second = {35, 8, 9, 7, 9, 3, 2, 38, 46};
    stream_ = make_stream({first, second}, {1, 1});
    bare_ = make_stream({first, second}, {0, 0});
  }

  // Moves every parameter away from its start, so that a law cannot hold by accident.
  void disturb(const Adapter& adapter, double size = 0.2) {
    for (const auto& p : adapter.store().parameters()) {
      const Rng rng(11, "disturb", 0, p->spec().path());
      at::Tensor value = p->value().detach();
      float* data = value.mutable_data_ptr<float>();
      for (int64_t i = 0; i < value.numel(); ++i)
        data[i] += static_cast<float>(size * rng.normal(static_cast<uint64_t>(i)));
    }
  }

  at::Tensor logits(const Stream& stream) const {
    const torch::NoGradGuard no_grad;
    return model_->logits(model_->forward(stream), *stream.rows);
  }

  static double distance(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).abs().max() / b.abs().max()).item<double>();
  }

  // How far one rounding of a weight to the base's format may move the logits.
  double rounding() const { return GetParam().base_format == "fp32" ? 2e-5 : 6e-2; }

  std::unique_ptr<Model> model_;
  Json config_;
  std::unique_ptr<Adapter> adapter_;
  Stream stream_, bare_;
};

// What a capability promises.
class FreshLaws : public MethodLaws {};
class MergeLaws : public MethodLaws {};
class LinearLaws : public MethodLaws {};
class BatchLaws : public MethodLaws {};
class AdapterFileLaws : public MethodLaws {};

TEST_P(FreshLaws, AFreshAdapterIsANoOpToTheBit) {
  const at::Tensor before = logits(bare_);
  adapter_->attach(*model_, 1);
  EXPECT_TRUE(at::equal(logits(stream_), before));
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
    const Delta own = *adapter_->method().delta(site, adapter_->values(site), {at.host, at.index});
    EXPECT_TRUE(
        at::equal(tile(combined.at(site.site.name), 0, site.site.out), tile(own, 0, site.site.out)))
        << site.site.name;
  }
}

TEST_P(LinearLaws, HalvesOfALinearAdapterAddUpToIt) {
  disturb(*adapter_);
  const auto whole = combine(*model_, {adapter_.get()}, {1.0});
  const auto halves = combine(*model_, {adapter_.get(), adapter_.get()}, {0.25, 0.75});
  for (const auto& [site, delta] : whole) {
    const int64_t rows = model_->find(site).site().out;
    EXPECT_TRUE(at::allclose(tile(halves.at(site), 0, rows), tile(delta, 0, rows), 1e-5, 1e-6))
        << site;
    EXPECT_NEAR(norm(delta), tile(delta, 0, rows).to(at::kDouble).norm().item<double>(),
                1e-4 * (1 + norm(delta)))
        << site;
  }
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

TEST_P(BatchLaws, RowsOfDifferentSlotsEqualTheirSoloRuns) {
  disturb(*adapter_);
  const auto other = Adapter::create(*model_, GetParam().method, config_, 6);
  disturb(*other, -0.3);
  adapter_->attach(*model_, 1);
  other->attach(*model_, 2);
  const std::vector<int32_t> ids = {3, 14, 15, 9, 2};
  const at::Tensor mixed = logits(make_stream({ids, ids, ids}, {0, 1, 2}));
  for (const int slot : {0, 1, 2}) {
    const at::Tensor solo = logits(make_stream(ids, slot));
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
  return str(info.param.method, "_", info.param.base_format, info.param.tied ? "_tied" : "_untied");
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
INSTANTIATE_TEST_SUITE_P(Registry, LinearLaws,
                         testing::ValuesIn(cases([](const Capabilities& c) { return c.linear; })),
                         name_of);
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
