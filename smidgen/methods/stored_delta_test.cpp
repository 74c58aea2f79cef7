#include "smidgen/methods/stored_delta.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/owned_tensors.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

Signs random_signs(int64_t count, uint64_t seed) {
  const Rng rng(seed, "signs");
  Signs signs(count);
  for (uint64_t i = 0; i < static_cast<uint64_t>(count); ++i) {
    const double draw = rng.uniform(i);
    if (draw < 0.5)
      (draw < 0.25 ? signs.positive : signs.negative)[i / 64] |= uint64_t{1} << (i % 64);
  }
  return signs;
}

// delta.json and codes of tensors with random signs, as compress would write them of a model.
struct MadeDelta {
  DeltaContents contents;
  std::map<std::string, Signs> signs;
  static constexpr float kScale = 0.03f;

  explicit MadeDelta(const std::string& kind = "ternary") {
    contents.json = {{"version", 1},    {"kind", kind},    {"of", "model"},
                     {"codec", "rice"}, {"base", nullptr}, {"tensors", Json::array()}};
    if (kind == "ternary") contents.json["scale"] = kScale;
    contents.adapter_config = {{"peft_type", kModelDeltaType}};
  }

  void add(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    const Signs made = random_signs(count, hash_name(name));
    const std::string codes = encode_signs(*codecs().find("rice").signs(), made.view());
    contents.json["tensors"].push_back({{"name", name},
                                        {"shape", shape},
                                        {"dtype", "f32"},
                                        {"bytes", codes.size()},
                                        {"kept", made.view().kept()}});
    contents.codes += codes;
    signs.emplace(name, made);
  }

  // Of a sparse one: the values that the same signs would stand for.
  void keep_values() {
    for (const Json& entry : contents.json["tensors"]) {
      std::vector<float> all = difference(entry["name"]);
      std::erase(all, 0.0f);
      contents.values.insert(contents.values.end(), all.begin(), all.end());
    }
  }

  std::vector<float> difference(const std::string& name) {
    Signs& made = signs.at(name);
    std::vector<float> values(static_cast<size_t>(made.count));
    made.span().expand(kScale, 0, values);
    return values;
  }
};

// Rows that end inside a word, at its end, and that are shorter than one.
TEST(TernaryDelta, EqualsTheExpandedTensor) {
  const TemporaryFolder folder;
  for (const int64_t columns : {1, 5, 63, 64, 65, 128, 200}) {
    constexpr int64_t kRows = 9;
    MadeDelta made;
    made.add("a", {kRows, columns});
    write_delta(folder / str(columns), made.contents);
    const DeltaFiles files = read_delta(folder / str(columns));
    std::vector<float> values = made.difference("a");
    const Delta delta = ternary_delta(files, files.tensors[0]);
    EXPECT_TRUE(at::equal(tile(delta, 0, kRows), at::from_blob(values.data(), {kRows, columns})))
        << columns;
    const auto kept = static_cast<double>(made.signs.at("a").view().kept());
    EXPECT_NEAR(norm(delta), static_cast<double>(MadeDelta::kScale) * std::sqrt(kept), 1e-9);
  }
}

// On every family: what hangs beside the base computes what the sum of the weights does.
class StoredDeltaLaws : public testing::TestWithParam<std::string> {
 protected:
  StoredDeltaLaws() : base_(tiny_files(tiny_config(GetParam()))) {
    model_ = load_model(base_, {.dtype = "fp32"});
  }

  // Every tensor moves, those of whole numbers and what only lies beside the model excepted.
  void move_all(MadeDelta& made) {
    for (const ModelTensor& tensor : model_->tensors()) made.add(tensor.name, tensor.shape);
  }

  std::unique_ptr<Adapter> load(const MadeDelta& made) {
    const fs::path path = folder_ / str(count_++);
    write_delta(path, made.contents);
    return Adapter::load(*model_, path);
  }

  // base + scale * difference, from files of its own.
  std::unique_ptr<Model> moved(MadeDelta& made, float scale) {
    ModelFiles files = base_;
    auto tensors = std::make_shared<OwnedTensors>("moved");
    for (const std::string& name : base_.tensors->names()) {
      const TensorView view = base_.tensors->view(name);
      std::vector<float> values(static_cast<size_t>(view.elements()));
      to_f32(view, values);
      if (made.signs.count(name)) {
        const std::vector<float> by = made.difference(name);
        for (size_t i = 0; i < values.size(); ++i) values[i] += scale * by[i];
      }
      const auto bytes = tensors->make(name, Format::f32, view.shape);
      std::memcpy(bytes.data(), values.data(), bytes.size());
    }
    files.tensors = tensors;
    return load_model(files, {.dtype = "fp32"});
  }

  static at::Tensor logits(const Model& model, int slot) {
    const torch::NoGradGuard no_grad;
    const std::vector<int32_t> first = {3, 14, 15, 9, 2, 6, 5}, second = {35, 8, 9};
    const Stream stream = make_stream({first, second}, {slot, slot});
    return model.logits(model.forward(stream), *stream.rows);
  }

  static double distance(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).abs().max() / b.abs().max()).item<double>();
  }

  ModelFiles base_;
  std::unique_ptr<Model> model_;
  TemporaryFolder folder_;
  int count_ = 0;
};

TEST_P(StoredDeltaLaws, AttachedEqualsTheSumOfTheWeights) {
  for (const char* kind : {"ternary", "sparse"}) {
    MadeDelta made(kind);
    move_all(made);
    if (std::string(kind) == "sparse") made.keep_values();
    const auto adapter = load(made);
    for (const float scale : {1.0f, 0.5f}) {
      adapter->attach(*model_, 1, static_cast<double>(scale));
      const at::Tensor wanted = logits(*moved(made, scale), 0);
      EXPECT_GT(distance(logits(*model_, 0), wanted), 1e-2);
      EXPECT_LT(distance(logits(*model_, 1), wanted), 3e-5) << kind << " " << scale;
      Adapter::detach(*model_, 1);
    }
  }
}

TEST_P(StoredDeltaLaws, MergedIsTheSumToTheBit) {
  MadeDelta made;
  move_all(made);
  const auto adapter = load(made);
  merge(*model_, *adapter);
  const auto wanted = moved(made, 1);
  const auto ours = model_->tensors(), theirs = wanted->tensors();
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    const int64_t rows = ours[i].shape[0];
    EXPECT_TRUE(ours[i].rows(0, rows).equal(theirs[i].rows(0, rows))) << ours[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, StoredDeltaLaws, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

// Below a frozen delta an adapter is trained as below the base that it stands for.
TEST(StoredDelta, GradientsPassThrough) {
  MadeDelta made;
  const ModelFiles files = tiny_llama_files({.tied = true, .attention_bias = true});
  const auto model = load_model(files, {.dtype = "fp32"});
  for (const ModelTensor& tensor : model->tensors()) made.add(tensor.name, tensor.shape);
  const TemporaryFolder folder;
  write_delta(folder / "d", made.contents);
  const auto delta = Adapter::load(*model, folder / "d");
  const auto lora = Adapter::create(*model, "lora", {{"rank", 3}, {"target", "all-linear"}}, 5);
  Batch batch;
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 67);
  const auto gradients = [&](int slot) {
    lora->store().zero_grad();
    batch.main = make_stream(ids, slot);
    batch.targets = next_token_targets(batch.main);
    model->loss_sum(model->forward(batch.main), batch).backward();
    std::vector<at::Tensor> all;
    for (const auto& p : lora->store().parameters()) all.push_back(p->gradient().clone());
    return all;
  };
  delta->attach(*model, 1);
  lora->attach(*model, 1);
  const std::vector<at::Tensor> beside = gradients(1);
  merge(*model, *delta);
  lora->attach(*model, 2);
  const std::vector<at::Tensor> merged = gradients(2);
  for (size_t i = 0; i < merged.size(); ++i) {
    EXPECT_LT((beside[i] - merged[i]).abs().max().item<double>(),
              1e-4 * (1e-6 + merged[i].abs().max().item<double>()));
  }
}

TEST(StoredDelta, SaysWhatDoesNotFit) {
  const auto model = make_tiny_llama();
  const TemporaryFolder folder;
  const auto refused = [&](const MadeDelta& made, const char* name) {
    write_delta(folder / name, made.contents);
    return error_of([&] { Adapter::load(*model, folder / name); });
  };
  MadeDelta wide, other, exact, fine;
  wide.add("model.norm.weight", {25});
  EXPECT_NE(refused(wide, "wide").find("shape [25]"), std::string::npos);
  other.add("model.norm.weight", {24});
  other.add("model.norm.scale", {24});
  EXPECT_NE(refused(other, "other").find("apply to nothing: model.norm.scale"), std::string::npos);
  exact.add("model.norm.weight", {24});
  const int32_t ids[2] = {1, 2};
  exact.contents.exact = {{"ids", {Format::i32, {2}, std::as_bytes(std::span(ids))}}};
  EXPECT_NE(refused(exact, "exact").find("apply to nothing: ids"), std::string::npos);
  fine.add("model.norm.weight", {24});
  EXPECT_EQ(refused(fine, "fine"), "no error");
  const auto adapter = Adapter::load(*model, folder / "fine");
  EXPECT_NE(error_of([&] { adapter->save(folder / "saved", "", nullptr); }).find("unsupported"),
            std::string::npos);
}

}  // namespace
}  // namespace smidgen
