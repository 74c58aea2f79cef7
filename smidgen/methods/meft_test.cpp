// What holds for all three variants: gradients of every way back, starting points, generation, and
// what is refused.
#include "smidgen/methods/meft_checks_test.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/tensor_memory.h"

namespace smidgen {
namespace {

using namespace meft_checks;

struct Case {
  std::string family, method;
};

class MeftLaws : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    model_ = load_model(tiny_files(tiny_config(GetParam().family)), {.dtype = "fp32"});
  }
  std::unique_ptr<Adapter> make(Json config = Json::object(), double size = 0.1) {
    auto adapter = Adapter::create(*model_, GetParam().method, config, 5);
    if (size > 0) disturb(*adapter, size);
    return adapter;
  }
  std::map<std::string, at::Tensor> gradients(const Json& config) {
    const auto adapter = make(config);
    adapter->attach(*model_, 1);
    const DropoutScope dropping(adapter->dropout(), 3, 2, 0);
    adapter->store().zero_grad();
    Batch batch;
    const std::vector<int32_t> first = {3, 14, 15, 9, 2, 6, 5}, second = {35, 8, 9, 7, 2, 38};
    batch.main = make_stream({first, second}, {1, 1});
    batch.targets = next_token_targets(batch.main);
    model_->loss_sum(model_->forward(batch.main), batch).backward();
    model_->detach(1);
    std::map<std::string, at::Tensor> all;
    for (const auto& p : adapter->store().parameters())
      all[p->spec().path()] = p->gradient().clone();
    return all;
  }
  std::unique_ptr<Model> model_;
};

TEST_P(MeftLaws, EveryWayBackHasTheGradientsOfKeptActivations) {
  for (const double dropout : {0.0, 0.3}) {
    Json config = {{"dropout", dropout}, {"bias", "all"}, {"token_rows", {3, 9}}};
    config["reverse"] = "cached";
    const auto wanted = gradients(config);
    for (const auto& [reverse, bound] :
         {std::pair("exact", 2e-5), std::pair("fp64", 2e-5), std::pair("anchors", 2e-4)}) {
      config["reverse"] = reverse;
      if (reverse == std::string("anchors")) config["anchor_every"] = 1;
      for (const auto& [path, got] : gradients(config)) {
        EXPECT_GT(got.abs().max().item<double>(), 0) << path;
        EXPECT_LT(distance(got, wanted.at(path)), bound) << reverse << " " << path;
      }
      config.erase("anchor_every");
    }
  }
}

TEST_P(MeftLaws, CheckpointingGoesWithKeptActivationsOnly) {
  const auto wanted = gradients({{"reverse", "cached"}});
  model_->set_memory({MemoryMode::checkpoint, 1});
  for (const auto& [path, got] : gradients({{"reverse", "cached"}}))
    EXPECT_TRUE(at::equal(got, wanted.at(path))) << path;
  EXPECT_THROW(gradients({{"reverse", "exact"}}), Error);
}

// The smaller the factors, the nearer the start to the base.
TEST_P(MeftLaws, StartsNearTheBase) {
  double before = 1e9;
  for (const double factor : {1.0, 0.1, 0.01, 0.001}) {
    Json config = {{"x1_factor", factor}, {"x2_factor", factor}};
    if (GetParam().method == "meft1") config["x2_factor"] = 1;
    if (GetParam().method == "meft2") config["x1_factor"] = 1;
    // Freshly made adapters, made smaller.
    const auto adapter = make(config, 0);
    for (const auto& p : adapter->store().parameters()) p->value().detach().mul_(0.01);
    adapter->attach(*model_, 1);
    const double now = distance(hidden(*model_, 1), hidden(*model_, 0));
    EXPECT_LT(now, before) << factor;
    before = now;
    model_->detach(1);
  }
  EXPECT_LT(before, 0.02);
}

TEST_P(MeftLaws, TokensOneByOneAreTheSameAsAllAtOnce) {
  const auto adapter = make();
  adapter->attach(*model_, 1);
  const torch::NoGradGuard no_grad;
  const std::vector<int32_t> ids = {3, 14, 15, 9, 2, 6};
  const at::Tensor whole = model_->forward(make_stream(ids, 1));
  KvCache cache = model_->make_cache(1, 32);
  Tensors rows;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<int32_t> one = {ids[i]};
    rows.push_back(model_->forward(make_stream(one, 1, static_cast<int64_t>(i)), &cache));
  }
  EXPECT_LT(distance(at::cat(rows, 0), whole), 1e-5);
}

TEST_P(MeftLaws, WhatCannotBeIsRefusedByName) {
  const auto adapter = make(), other = make();
  adapter->attach(*model_, 1);
  EXPECT_THROW(other->attach(*model_, 1), Error) << "two in one slot";
  const std::vector<int32_t> ids = {3, 14, 15};
  try {
    model_->forward(make_stream({ids, ids}, {0, 1}));
    ADD_FAILURE() << "mixed rows";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
  }
  try {
    merge(*model_, *adapter);
    ADD_FAILURE() << "merged";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("two streams"), std::string::npos) << e.what();
  }
  EXPECT_THROW(make({{"x1_factor", 0.3}}), Error) << "exact with a factor that is not 1 / k";
  EXPECT_THROW(make({{"anchor_every", 2}}), Error) << "anchors that nobody asked for";
}

TEST_P(MeftLaws, ExaminesItself) {
  const auto adapter = make({{"reverse", "exact"}});
  adapter->attach(*model_, 1);
  const std::vector<int32_t> ids = {3, 14, 15, 9, 2, 6};
  const Json facts = model_->examine(make_stream(ids, 1));
  EXPECT_EQ(facts.at("reconstruction_error"), 0.0);
  EXPECT_GT(facts.at("starting_distance").get<double>(), 0.01);
  EXPECT_TRUE(model_->examine(make_stream(ids, 0)).is_null());
  model_->detach(1);
  const auto strict = make({{"reverse", "anchors"}, {"anchor_every", 1}, {"tolerance", 1e-9}});
  strict->attach(*model_, 1);
  try {
    model_->examine(make_stream(ids, 1));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(e.hint().find("exact"), std::string::npos) << e.hint();
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* method : {"meft1", "meft2", "meft3"}) {
    for (const char* family : {"llama", "gpt2", "gemma2"}) all.push_back({family, method});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Families, MeftLaws, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.method + "_" + info.param.family;
});

// Activations kept do not grow with the layers, where plain autograd's do.
TEST(Meft, KeepsNoMoreForMoreLayers) {
  const auto kept = [](int64_t layers, const char* reverse) {
    const auto model = make_tiny_llama({.layers = layers, .width = 64, .inner = 96});
    const auto adapter = Adapter::create(*model, "meft1", {{"reverse", reverse}}, 5);
    adapter->attach(*model, 1);
    Batch batch;
    const std::vector<int32_t> ids(64, 3);
    batch.main = make_stream(ids, 1);
    batch.targets = next_token_targets(batch.main);
    const TensorMemory memory;
    const at::Tensor sum = model->loss_sum(model->forward(batch.main), batch);
    return memory.live();
  };
  EXPECT_NEAR(static_cast<double>(kept(16, "exact") - kept(8, "exact")), 0, 64);
  EXPECT_NEAR(static_cast<double>(kept(16, "fp64") - kept(8, "fp64")), 0, 64);
  EXPECT_GT(kept(16, "cached"), 1.8 * kept(8, "cached"));
  EXPECT_LT(kept(16, "exact"), 0.2 * kept(16, "cached"));
}

}  // namespace
}  // namespace smidgen
