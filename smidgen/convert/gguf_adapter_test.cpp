#include "smidgen/convert/gguf_adapter.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/methods/adapter_gguf.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

constexpr const char* kQuery = "model.layers.1.self_attn.q_proj";
constexpr const char* kDown = "model.layers.0.mlp.down_proj";

LowRankDelta delta(int64_t out, int64_t in, int64_t rank, double scale) {
  torch::manual_seed(out + in);
  return {torch::randn({rank, in}), torch::randn({out, rank}), scale};
}

struct Written {
  TemporaryFolder folder;
  TinySpec spec;
  std::map<std::string, Delta> deltas;
  fs::path path = folder / "a.gguf";
  AdapterFiles round_trip(const std::string& dtype = "native") {
    write_gguf_adapter(*make_tiny_llama(spec), deltas, path, dtype);
    return read_gguf_adapter(path, tiny_llama_files(spec));
  }
};

at::Tensor tensor(const AdapterFiles& adapter, const std::string& name) {
  const TensorView view = adapter.tensors->view("base_model.model." + name);
  at::Tensor values = torch::empty(view.shape);
  to_f32(view, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

// s B A, with PEFT's scale for the module.
at::Tensor product(const AdapterFiles& adapter, const std::string& site) {
  const at::Tensor a = tensor(adapter, site + ".lora_A.weight"),
                   b = tensor(adapter, site + ".lora_B.weight");
  return b.matmul(a) *
         (adapter.config["lora_alpha"].get<double>() / static_cast<double>(a.size(0)));
}

TEST(GgufAdapter, ComesBackToTheBit) {
  Written w;
  const LowRankDelta q = delta(32, 24, 3, 2.0), down = delta(24, 40, 3, 2.0);
  w.deltas = {{kQuery, q}, {kDown, down}};
  const AdapterFiles adapter = w.round_trip();
  EXPECT_EQ(adapter.config["peft_type"], "LORA");
  EXPECT_EQ(adapter.config["r"], 3);
  EXPECT_EQ(adapter.config["lora_alpha"], 6.0);
  EXPECT_FALSE(adapter.config.contains("rank_pattern"));
  EXPECT_TRUE(tensor(adapter, std::string(kQuery) + ".lora_A.weight").equal(q.a));
  EXPECT_TRUE(tensor(adapter, std::string(kQuery) + ".lora_B.weight").equal(q.b));
  EXPECT_TRUE(tensor(adapter, std::string(kDown) + ".lora_B.weight").equal(down.b));
  // The file has the rows of q in pairs, as the base's.
  const GgufFile file(w.path);
  at::Tensor rows = torch::empty({32, 3});
  to_f32(file.view("blk.1.attn_q.weight.lora_b"), {rows.data_ptr<float>(), 96});
  EXPECT_FALSE(rows.equal(q.b));
  EXPECT_TRUE(rows[1].equal(q.b[4])) << "the second number of the first pair is in the second half";
}

TEST(GgufAdapter, ScalesAndRanksOfTheirOwnKeepTheProduct) {
  Written w;
  const LowRankDelta q = delta(32, 24, 3, 2.0), down = delta(24, 40, 2, 0.25);
  w.deltas = {{kQuery, q}, {kDown, down}};
  const AdapterFiles adapter = w.round_trip();
  EXPECT_EQ(adapter.config["r"], 3);
  EXPECT_EQ(adapter.config["rank_pattern"], Json({{kDown, 2}}));
  EXPECT_TRUE(product(adapter, kQuery).allclose(q.b.matmul(q.a) * 2.0, 1e-5, 1e-5));
  EXPECT_TRUE(product(adapter, kDown).allclose(down.b.matmul(down.a) * 0.25, 1e-5, 1e-5));
}

TEST(GgufAdapter, NamesWhatCannotBeWritten) {
  Written w;
  w.deltas = {{kQuery, DenseDelta{torch::zeros({32, 24})}}};
  EXPECT_NE(error_of([&] { w.round_trip(); }).find("this delta is dense"), std::string::npos);
  w.deltas = {{"model.layers.0.nothing", delta(4, 4, 1, 1)}};
  EXPECT_NE(error_of([&] { w.round_trip(); }).find("GGUF has no name"), std::string::npos);
  w.deltas = {{kQuery, delta(32, 24, 3, 1)}};
  EXPECT_NE(error_of([&] { w.round_trip("q4_0"); }).find("not written as q4_0"), std::string::npos);
  EXPECT_FALSE(path_exists(w.path));
  w.round_trip("bf16");
  EXPECT_NE(error_of([&] { w.round_trip(); }).find("the file exists"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
