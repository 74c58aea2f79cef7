#include "smidgen/convert/hf_folder.h"

#include <set>
#include <tuple>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/convert/gguf_file.h"
#include "smidgen/convert/hf_weights.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

at::Tensor hidden(const Model& model) {
  torch::NoGradGuard no_grad;
  const std::vector<int32_t> ids = {3, 14, 15, 9, 26, 5};
  return model.forward(make_stream(ids));
}

struct Written {
  TemporaryFolder folder;
  fs::path out = folder.path() / "model";
};

TEST(HfFolder, ReadsBackToTheSameModel) {
  for (const bool tied : {false, true}) {
    for (const Format storage : {Format::f32, Format::bf16}) {
      const TinySpec spec{
          .tied = tied, .attention_bias = true, .mlp_bias = true, .storage = storage};
      const auto model = make_tiny_llama(spec);
      Written w;
      write_hf_folder(*model, tiny_llama_files(spec), w.out);
      const ModelFiles files = open_model(w.out.string());
      EXPECT_TRUE(hidden(*load_model(files, {.dtype = "fp32"})).equal(hidden(*model)));
      EXPECT_EQ(files.config["dtype"], storage == Format::bf16 ? "bfloat16" : "float32");
      EXPECT_EQ(files.tensors->view("model.norm.weight").format, Format::f32)
          << "as the files have it";
      EXPECT_EQ(files.tensors->contains("lm_head.weight"), !tied);
    }
  }
}

TEST(HfFolder, NativeIsTheStoredFormatOfWhatHasNoNameInTheFile) {
  for (const Format storage : {Format::bf16, Format::f16}) {
    const TinySpec spec{.tied = true, .storage = storage};
    const ModelFiles files = tiny_llama_files(spec);
    const auto model = make_tiny_llama(spec);
    TemporaryFolder folder;
    const auto expect_formats = [&](const Model& of, const ModelFiles& from, bool head) {
      write_hf_weights(of, from, folder.path(), {});
      const SafetensorsFile written(folder / "model.safetensors");
      for (const std::string& name : written.names()) {
        const TensorView view = written.view(name);
        EXPECT_EQ(view.format, view.shape.size() > 1 ? storage : Format::f32) << name;
      }
      EXPECT_EQ(written.contains("lm_head.weight"), head);
    };
    write_gguf_file(*model, files, folder / "m.gguf");
    const ModelFiles gguf = open_model((folder / "m.gguf").string());
    expect_formats(*load_model(gguf, {.dtype = "fp32"}), gguf, false);
    // A merged adapter moves the head away from the embedding, which alone is in the file.
    HostedWeight& head = model->find("lm_head").host->weight();
    const at::Tensor moved = head.original().tile(0, spec.vocabulary) + 1;
    head.merge(find_weight_format("fp32").pack(weight_source(moved), Arithmetic::fp32));
    expect_formats(*model, files, true);
  }
}

TEST(HfFolder, ShardsWithAnIndexHoldTheSameTensors) {
  const TinySpec spec;
  const auto model = make_tiny_llama(spec);
  Written w;
  write_hf_folder(*model, tiny_llama_files(spec), w.out, {.shard_bytes = 9000});
  EXPECT_FALSE(path_exists(w.out / "model.safetensors"));
  const Json index = read_json(w.out / "model.safetensors.index.json");
  std::set<std::string> shards;
  for (const auto& [tensor, file] : index["weight_map"].items())
    shards.insert(file.get<std::string>());
  EXPECT_GT(shards.size(), 3u);
  int64_t bytes = 0;
  for (const ModelTensor& t : model->tensors())
    bytes += 4 * (t.shape.size() > 1 ? t.shape[0] * t.shape[1] : t.shape[0]);
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
  EXPECT_TRUE(
      hidden(*load_model(open_model(w.out.string()), {.dtype = "fp32"})).equal(hidden(*model)));
}

TEST(HfFolder, OtherFormatsRoundOnce) {
  const TinySpec spec;
  const auto model = make_tiny_llama(spec);
  for (const auto& [word, type, name] :
       {std::tuple{"bf16", at::kBFloat16, "bfloat16"}, std::tuple{"fp16", at::kHalf, "float16"}}) {
    Written w;
    write_hf_folder(*model, tiny_llama_files(spec), w.out, {.dtype = word});
    const ModelFiles files = open_model(w.out.string());
    EXPECT_EQ(files.config["dtype"], name);
    const auto back = load_model(files, {.dtype = "fp32", .base_format = "fp32"});
    const auto before = model->tensors(), after = back->tensors();
    for (size_t i = 0; i < before.size(); ++i) {
      const int64_t rows = before[i].shape[0];
      EXPECT_TRUE(after[i].rows(0, rows).equal(before[i].rows(0, rows).to(type).to(at::kFloat)))
          << before[i].name;
    }
  }
}

TEST(HfFolder, NeverTouchesWhatIsThere) {
  const TinySpec spec;
  const auto model = make_tiny_llama(spec);
  TemporaryFolder folder;
  write_file(folder.path() / "mine.txt", "kept");
  EXPECT_THROW(write_hf_folder(*model, tiny_llama_files(spec), folder.path()), Error);
  EXPECT_THROW(write_hf_folder(*model, tiny_llama_files(spec), folder.path() / "mine.txt"), Error);
  EXPECT_EQ(read_file(folder.path() / "mine.txt"), "kept");
  EXPECT_THROW(
      write_hf_folder(*model, tiny_llama_files(spec), folder.path() / "out", {.dtype = "int3"}),
      Error);
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder.path())) ++entries;
  EXPECT_EQ(entries, 1u) << "a failed call leaves nothing behind";
}

TEST(HfFolder, ReplacesOnlyWhatItWrote) {
  const TinySpec spec;
  const auto model = make_tiny_llama(spec);
  Written w;
  const HfFolderOptions ours{.replace = true, .sidecar = {{"step", 2}}};
  write_hf_folder(*model, tiny_llama_files(spec), w.out, ours);
  write_hf_folder(*model, tiny_llama_files(spec), w.out, ours);
  EXPECT_EQ(read_json(w.out / "smidgen.json")["step"], 2);
  remove_tree(w.out / "smidgen.json");
  EXPECT_THROW(write_hf_folder(*model, tiny_llama_files(spec), w.out, ours), Error);
}

TEST(HfFolder, Fp16SaysWhatDoesNotFit) {
  TinySpec spec;
  spec.scale = 1e6;
  const auto model = make_tiny_llama(spec);
  TemporaryFolder folder;
  try {
    write_hf_folder(*model, tiny_llama_files(spec), folder.path() / "out", {.dtype = "fp16"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::data);
  }
  EXPECT_FALSE(path_exists(folder.path() / "out"));
}

}  // namespace
}  // namespace smidgen
