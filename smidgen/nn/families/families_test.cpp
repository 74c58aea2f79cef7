// Laws of every family, run over the registry on tiny models: a new entry is tested by being
// listed.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/nn/families/family_checks_test.h"
#include "smidgen/nn/op_checks_test.h"

namespace smidgen {

namespace {

const std::vector<int32_t> kFirst = {3, 14, 15, 9, 2, 6, 5, 35, 8}, kSecond = {46, 11, 7, 31, 60};

at::Tensor hidden_of(const Model& model, const std::vector<int32_t>& ids) {
  torch::NoGradGuard no_grad;
  return model.forward(make_stream(ids));
}

std::unique_ptr<Model> tiny(const Json& config) {
  return load_model(tiny_files(config), {.dtype = "fp32"});
}

}  // namespace

double moved_by(const std::string& family, const Json& change) {
  const Json config = tiny_config(family);
  Json changed = config;
  changed.update(change);
  const auto before = tiny(config), after = tiny(changed);
  const at::Tensor x = hidden_of(*before, kFirst), y = hidden_of(*after, kFirst);
  const Rows rows = *make_stream(kFirst).rows;
  torch::NoGradGuard no_grad;
  const at::Tensor a = before->logits(x, rows), b = after->logits(y, rows);
  return ((a - b).abs().max() / a.abs().max()).item<double>();
}

std::string answer_to(const std::string& family, const Json& change) {
  ModelFiles files = tiny_files(tiny_config(family));
  files.config.update(change);
  try {
    load_model(files, {.dtype = "fp32"});
  } catch (const Error& e) {
    return str(to_string(e.kind()), ": ", e.what(), " ", e.hint());
  }
  return "loaded";
}

void expect_live(const std::string& family, const std::vector<Json>& changes) {
  for (const Json& change : changes) EXPECT_GT(moved_by(family, change), 1e-3) << change.dump();
}

void expect_refused(const std::string& family, const Json& change) {
  const std::string answer = answer_to(family, change);
  EXPECT_NE(answer, "loaded") << change.dump();
  EXPECT_NE(answer.find(change.items().begin().key()), std::string::npos) << answer;
}

namespace {

class FamilyLaws : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { model_ = tiny(tiny_config(GetParam())); }
  std::unique_ptr<Model> model_;
};

TEST_P(FamilyLaws, IsFoundByModelType) {
  EXPECT_EQ(&family_of(tiny_config(GetParam()), "tiny"), &families().find(GetParam()));
}

TEST_P(FamilyLaws, BothKernelsComputeTheSame) {
  const Stream stream = make_stream({kFirst, kSecond});
  const at::Tensor targets = next_token_targets(stream);
  at::Tensor hidden[2], loss[2];
  for (const KernelsMode mode : {KernelsMode::ref, KernelsMode::fast}) {
    const ScopedKernels scoped(mode);
    torch::NoGradGuard no_grad;
    const auto i = static_cast<size_t>(mode);
    hidden[i] = model_->forward(stream);
    loss[i] = model_->loss_sum(hidden[i], {.main = stream, .targets = targets, .answers = 1});
  }
  expect_close(hidden[1], hidden[0], 1e-5, "hidden states");
  expect_close(loss[1], loss[0], 1e-6, "loss");
}

// Packed sequences are computed as if each were alone.
TEST_P(FamilyLaws, APackedSequenceIsComputedAlone) {
  torch::NoGradGuard no_grad;
  const at::Tensor both = model_->forward(make_stream({kFirst, kSecond}));
  const auto first = static_cast<int64_t>(kFirst.size());
  expect_close(both.narrow(0, 0, first), hidden_of(*model_, kFirst), 1e-5, "first");
  expect_close(both.narrow(0, first, both.size(0) - first), hidden_of(*model_, kSecond), 1e-5,
               "second");
}

// Tokens that come one by one, after a prompt, see what they would see all at once. `angles` says
// that they depend on the length, so that each step has a whole of its own.
void expect_cached_steps(const Model& model, bool angles) {
  torch::NoGradGuard no_grad;
  KvCache cache = model.make_cache(1, 32);
  size_t first = 3;
  for (size_t at = 0; at < kFirst.size();) {
    const size_t count = at == 0 ? first : 1;
    const std::span<const int32_t> next(kFirst.data() + at, count);
    const auto end = kFirst.begin() + static_cast<long>(angles ? at + count : kFirst.size());
    const at::Tensor whole = hidden_of(model, {kFirst.begin(), end});
    const auto have = static_cast<int64_t>(at), want = static_cast<int64_t>(at + count);
    if (model.starts_anew(have, want)) {
      EXPECT_TRUE(angles);
      cache.truncate(0, 0);
      first = at + 1;
      at = 0;
      continue;
    }
    const at::Tensor step = model.forward(make_stream(next, 0, static_cast<int64_t>(at)), &cache);
    expect_close(step, whole.narrow(0, static_cast<int64_t>(at), static_cast<int64_t>(count)), 1e-5,
                 str("from position ", at));
    at += count;
  }
}

TEST_P(FamilyLaws, CachedStepsEqualTheWhole) {
  expect_cached_steps(*model_, false);
}

TEST(RopeByLength, CachedStepsEqualTheWholeOfTheirLength) {
  Json config = tiny_config("llama");
  config["max_position_embeddings"] = 5;
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  expect_cached_steps(*tiny(config), true);
  config["max_position_embeddings"] = 96;
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", {1.0, 1.1, 1.2, 1.3}},
                            {"long_factor", {2.0, 3.0, 4.0, 5.0}},
                            {"original_max_position_embeddings", 6}};
  expect_cached_steps(*tiny(config), true);
}

// A written folder holds what was read, under the names and in the layout it was read in.
TEST_P(FamilyLaws, TensorsAreThoseOfTheFolder) {
  const ModelFiles files = tiny_files(tiny_config(GetParam()));
  size_t count = 0;
  for (const ModelTensor& t : model_->tensors()) {
    ASSERT_TRUE(files.tensors->contains(t.name)) << t.name;
    const TensorView view = files.tensors->view(t.name);
    EXPECT_EQ(view.shape, t.shape) << t.name;
    const at::Tensor values = t.rows(0, t.shape[0]).contiguous();
    ASSERT_EQ(static_cast<size_t>(values.nbytes()), view.bytes.size()) << t.name;
    EXPECT_EQ(std::memcmp(values.const_data_ptr(), view.bytes.data(), view.bytes.size()), 0)
        << t.name;
    ++count;
  }
  EXPECT_EQ(count, files.tensors->names().size());
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyLaws, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smidgen
