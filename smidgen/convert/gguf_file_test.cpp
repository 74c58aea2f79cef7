#include "smidgen/convert/gguf_file.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/convert/verify.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

const std::vector<int32_t> kIds = {3, 14, 15, 9, 26, 5};

TEST(GgufFile, ReadsBackToTheSameModel) {
  for (const bool tied : {false, true}) {
    for (const Format storage : {Format::f32, Format::bf16}) {
      const TinySpec spec{.tied = tied, .attention_bias = true, .storage = storage};
      const auto model = make_tiny_llama(spec);
      TemporaryFolder folder;
      write_gguf_file(*model, tiny_llama_files(spec), folder / "m.gguf");
      const ModelFiles files = open_model((folder / "m.gguf").string());
      EXPECT_EQ(files.tensors->contains("output.weight"), !tied);
      EXPECT_EQ(files.tensors->view("blk.0.attn_q.weight").format, storage);
      EXPECT_EQ(files.tensors->view("blk.0.attn_norm.weight").format, Format::f32);
      EXPECT_EQ(files.tensors->view("blk.0.attn_q.bias").format, Format::f32);
      const auto back = load_model(files, {.dtype = "fp32"});
      const Verification v = compare(*model, *back, kIds);
      EXPECT_LE(v.relative, 1e-6);
      EXPECT_EQ(v.same_top, 1);
    }
  }
}

TEST(GgufFile, RowsThatAreNotWholeBlocksBecomeHalves) {
  const TinySpec spec;
  const auto model = make_tiny_llama(spec);
  TemporaryFolder folder;
  write_gguf_file(*model, tiny_llama_files(spec), folder / "m.gguf", {.dtype = "q8_0"});
  const GgufFile file(folder / "m.gguf");
  for (const std::string& name : file.names()) {
    const TensorView view = file.view(name);
    if (view.shape.size() < 2) continue;
    EXPECT_EQ(view.format, view.shape.back() % 32 == 0 ? Format::q8_0 : Format::f16) << name;
  }
}

TEST(GgufFile, NeverTouchesWhatIsThere) {
  const TinySpec spec;
  const auto model = make_tiny_llama(spec);
  TemporaryFolder folder;
  write_file(folder / "m.gguf", "kept");
  const ModelFiles files = tiny_llama_files(spec);
  EXPECT_NE(error_of([&] { write_gguf_file(*model, files, folder / "m.gguf"); }).find("exists"),
            std::string::npos);
  EXPECT_NE(error_of([&] { write_gguf_file(*model, files, folder.path()); }).find("a folder of"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              write_gguf_file(*model, files, folder / "n.gguf", {.dtype = "int3"});
            }).find("'int3' is not a format of GGUF files"),
            std::string::npos);
  EXPECT_EQ(read_file(folder / "m.gguf"), "kept");
  EXPECT_FALSE(path_exists(folder / "n.gguf"));
}

TEST(Verify, SeesWhatDiffers) {
  const TinySpec spec;
  TinySpec other = spec;
  other.scale *= 1.01;
  const Verification v = compare(*make_tiny_llama(spec), *make_tiny_llama(other), kIds);
  EXPECT_GT(v.relative, kLosslessBound);
  EXPECT_GT(v.mean_kl, 0);
  Verification claimed = v;
  EXPECT_NO_THROW(require_equal(claimed, "x"));
  claimed.lossless = true;
  EXPECT_THROW(require_equal(claimed, "x"), Error);
  claimed.relative = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(require_equal(claimed, "x"), Error);
}

// As PyPI gguf 0.19.0 writes them (utility.model_weight_count_rounded_notation).
TEST(GgufFile, SizeLabelsHaveTwoDigits) {
  EXPECT_EQ(size_label(134515008), "135M");
  EXPECT_EQ(size_label(8030261248), "8.0B");
  EXPECT_EQ(size_label(46702792704), "47B");
  EXPECT_EQ(size_label(1200), "1.2K");
  EXPECT_EQ(size_label(431), "0.43K");
  EXPECT_EQ(size_label(1000000), "1000K");
}

}  // namespace
}  // namespace smidgen
