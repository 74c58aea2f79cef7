#include "smidgen/delta/merge/merge_folder.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/base/threads.h"
#include "smidgen/delta/merge/merge_checks_test.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {
namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

const Shapes kShapes = {{"model.layers.0.a.weight", {300, 70}},
                        {"model.layers.1.a.weight", {1500, 1600}},
                        {"model.norm.weight", {70}},
                        {"model.scale", {}},
                        {"model.none", {0, 4}}};

int64_t elements_of(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

void write_model(const fs::path& folder, uint64_t seed, float bad = 0) {
  make_folder(folder);
  write_file(folder / "config.json", R"({"model_type": "x", "dtype": "float32"})");
  std::vector<Values> values;
  std::vector<NamedTensor> tensors;
  for (const auto& [name, shape] : kShapes)
    values.push_back(normal_values(static_cast<size_t>(elements_of(shape)), seed + values.size()));
  if (bad != 0) values[1][123456] = bad;
  size_t i = 0;
  for (const auto& [name, shape] : kShapes) {
    tensors.push_back({name, {Format::f32, shape, std::as_bytes(std::span(values[i]))}});
    ++i;
  }
  write_safetensors(folder / "model.safetensors", tensors);
}

// The mean of two models, in the format given.
struct Scene {
  TemporaryFolder home;
  MergePlan plan;
  std::vector<std::shared_ptr<const Source>> sources;
  MergeFolderOptions options;

  explicit Scene(Format format = Format::f32, float bad = 0) {
    write_model(home / "a", 1);
    write_model(home / "b", 100, bad);
    plan.method = "linear";
    for (const char* name : {"a", "b"}) {
      sources.push_back(open_source((home / name).string()));
    }
    for (const auto& [name, shape] : kShapes) {
      PlannedTensor tensor{.task = {.tensor = name, .shape = shape}};
      options.merge.formats.push_back(format);
      tensor.task.elements = elements_of(shape);
      tensor.task.columns = shape.empty() ? 1 : shape.back();
      tensor.task.inputs = 2;
      tensor.task.shared = {{"normalize", 1}};
      tensor.task.by_input = {{{"weight", 1}}, {{"weight", 3}}};
      tensor.inputs = {{0, name}, {1, name}};
      plan.tensors.push_back(tensor);
    }
    options.recipe_text = "merge_method: linear\n";
  }
  Json merge(const std::string& out) {
    return merge_into_folder(plan, sources, home / out, options);
  }
};

TEST(MergeFolder, HoldsTheMeanOfEveryTensor) {
  Scene scene;
  const Json result = scene.merge("out");
  EXPECT_EQ(result["tensors"], kShapes.size());
  const auto merged_source = open_source((scene.home / "out").string());
  for (const auto& [name, shape] : kShapes) {
    const auto n = static_cast<size_t>(elements_of(shape));
    Values a(n), b(n), got(n);
    if (n == 0) continue;
    scene.sources[0]->read(*scene.sources[0]->find(name), 0, a);
    scene.sources[1]->read(*scene.sources[1]->find(name), 0, b);
    merged_source->read(*merged_source->find(name), 0, got);
    for (size_t k = 0; k < n; ++k) ASSERT_NEAR(got[k], .25f * a[k] + .75f * b[k], 1e-6) << name;
  }
  const std::string card = read_file(scene.home / "out" / "README.md");
  EXPECT_NE(card.find("merge_method: linear"), std::string::npos);
  EXPECT_NE(card.find(scene.sources[1]->files()->digest()), std::string::npos);
  EXPECT_NE(card.find("| layers.1 |"), std::string::npos);
}

TEST(MergeFolder, ShardsAndFormatsHoldTheSameValues) {
  Scene scene(Format::bf16);
  scene.merge("whole");
  scene.options.merge.shard_bytes = 50'000;
  EXPECT_EQ(scene.merge("cut")["shards"], 3);
  const auto a = open_source((scene.home / "whole").string());
  const auto b = open_source((scene.home / "cut").string());
  for (const auto& [name, shape] : kShapes) {
    const auto x = a->stored(*a->find(name)), y = b->stored(*b->find(name));
    EXPECT_TRUE(std::equal(x->bytes.begin(), x->bytes.end(), y->bytes.begin(), y->bytes.end()));
  }
}

TEST(MergeFolder, GoesOnAfterTheShardsThatAreDone) {
  Scene scene;
  scene.options.merge.shard_bytes = 50'000;
  const Json whole = scene.merge("whole");
  struct Killed {};
  scene.options.merge.wrote = [](int64_t bytes) {
    if (bytes > 200'000) throw Killed();  // inside the second shard
  };
  EXPECT_THROW(scene.merge("out"), Killed);
  EXPECT_FALSE(path_exists(scene.home / "out"));
  scene.options.merge.wrote = {};
  const Json again = scene.merge("out");
  EXPECT_EQ(again["kept"], 1);
  EXPECT_EQ(again["norm"], whole["norm"]) << "statistics of kept shards are kept";
  for (const char* shard : {"1", "2", "3"}) {
    const std::string name = str("model-0000", shard, "-of-00003.safetensors");
    EXPECT_EQ(read_file(scene.home / "whole" / name), read_file(scene.home / "out" / name));
  }
  size_t left = 0;
  for (const auto& entry : fs::directory_iterator(scene.home.path()))
    left += entry.path().filename().string().starts_with(".");
  EXPECT_EQ(left, 0u);
}

TEST(MergeFolder, AnotherPlanStartsAnew) {
  Scene scene;
  scene.options.merge.shard_bytes = 50'000;
  scene.options.merge.wrote = [](int64_t bytes) {
    if (bytes > 200'000) throw 1;
  };
  EXPECT_THROW(scene.merge("out"), int);
  scene.options.merge.wrote = {};
  for (PlannedTensor& tensor : scene.plan.tensors) tensor.task.by_input[0]["weight"] = 2;
  EXPECT_EQ(scene.merge("out")["kept"], 0);
}

// A method that ranks over the whole model: each model keeps its share of all entries, and how the
// model is cut into tensors changes nothing.
TEST(MergeFolder, SomeMethodsLookAtTheWholeModel) {
  Scene scene;
  scene.plan.method = "pcb";
  Values base, other, result;
  for (PlannedTensor& tensor : scene.plan.tensors) {
    tensor.task.inputs = 1;
    tensor.task.base = true;
    std::swap(tensor.inputs[0], tensor.inputs[1]);
    tensor.task.shared = {{"density", .1}, {"winsor", 1e-4}, {"strength", 0}};
    tensor.task.by_input = {{{"weight", 1}}};
  }
  scene.merge("out");
  const auto merged_source = open_source((scene.home / "out").string());
  for (const PlannedTensor& tensor : scene.plan.tensors) {
    const std::string& name = tensor.task.tensor;
    const auto n = static_cast<size_t>(tensor.task.elements);
    Values part(n);
    const auto append = [&](const Source& source, Values& to) {
      if (n > 0) source.read(*source.find(name), 0, part);
      to.insert(to.end(), part.begin(), part.end());
    };
    append(*scene.sources[0], base);
    append(*scene.sources[1], other);
    append(*merged_source, result);
  }
  const Values whole =
      merged({.method = "pcb", .inputs = {other}, .base = base, .shared = {{"density", .1}}});
  EXPECT_EQ(result, whole);
}

// A search changes weights only: what the passes found is used again, and gives the same bytes.
TEST(MergeFolder, KeepsWhatPassesFound) {
  Scene scene;
  scene.plan.method = "pcb";
  for (PlannedTensor& tensor : scene.plan.tensors) {
    tensor.task.inputs = 1;
    tensor.task.base = true;
    tensor.task.shared = {{"density", .1}, {"winsor", 1e-4}, {"strength", 0}};
    tensor.task.by_input = {{{"weight", 1}}};
  }
  const auto passes = std::make_shared<ModelPasses>();
  const auto set = [&](const char* name, double value) {
    for (PlannedTensor& tensor : scene.plan.tensors) {
      auto& own = tensor.task.by_input[0];
      own.contains(name) ? own[name] = value : tensor.task.shared[name] = value;
    }
  };
  const auto bytes = [&](const std::string& out, bool keep) {
    scene.options.merge.passes = keep ? passes : nullptr;
    scene.merge(out);
    return read_file(scene.home / out / "model.safetensors");
  };
  const std::string first = bytes("first", true);
  const auto found = passes->found;
  set("weight", .7);
  const std::string second = bytes("second", true);
  EXPECT_EQ(passes->found, found);
  EXPECT_NE(second, first);
  EXPECT_EQ(second, bytes("fresh", false));
  set("density", .2);
  const std::string third = bytes("third", true);
  EXPECT_NE(passes->found, found);
  EXPECT_EQ(third, bytes("also fresh", false));
}

TEST(MergeFolder, RefusesWhatIsNoNumber) {
  Scene scene(Format::f32, NAN);
  const std::string error = error_of([&] { scene.merge("out"); });
  EXPECT_NE(error.find("model.layers.1.a.weight"), std::string::npos) << error;
  EXPECT_NE(error.find((scene.home / "b").string()), std::string::npos) << error;
  EXPECT_FALSE(path_exists(scene.home / "out"));
}

TEST(MergeFolder, LeavesAnExistingFolderAlone) {
  Scene scene;
  make_folder(scene.home / "out");
  write_file(scene.home / "out" / "mine", "x");
  EXPECT_NE(error_of([&] { scene.merge("out"); }).find("exists and is not empty"),
            std::string::npos);
}

}  // namespace
}  // namespace smidgen
