// Values and defaults by hand from axolotl 0.19.0's schemas and examples.
#include "smidgen/base/error.h"
#include "smidgen/io/importers/import_testing.h"

namespace smidgen {
namespace {

using Axolotl = ImportTest;

constexpr const char* kLora = R"(
base_model: NousResearch/Llama-3.2-1B
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
output_dir: ./outputs/lora-out
adapter: lora
lora_model_dir:
sequence_len: 2048
sample_packing: true
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_modules:
  - q_proj
  - v_proj
wandb_project:
gradient_accumulation_steps: 2
micro_batch_size: 3
num_epochs: 1
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-4
bf16: auto
tf32: false
warmup_ratio: 0.1
evals_per_epoch: 4
weight_decay: 0.0
special_tokens:
  pad_token: "<|end_of_text|>"
lora_alhpa: 4
)";

TEST_F(Axolotl, EachKeyHasItsFate) {
  const Imported out = read(kLora);
  EXPECT_EQ(out.tool, "axolotl");
  EXPECT_EQ(value(out, "model"), "NousResearch/Llama-3.2-1B");
  EXPECT_EQ(value(out, "out"), "./outputs/lora-out");
  EXPECT_EQ(value(out, "method.name"), "lora");
  EXPECT_EQ(value(out, "method.rank"), 16);
  EXPECT_EQ(value(out, "method.alpha"), 32);
  EXPECT_EQ(value(out, "method.target"), Json::array({"q_proj", "v_proj"}));
  EXPECT_EQ(value(out, "learning_rate"), 2e-4);
  EXPECT_EQ(value(out, "optimizer"), "adamw");
  EXPECT_EQ(value(out, "max_length"), 2048);
  EXPECT_EQ(value(out, "batch_tokens"), 3 * 2 * 2048);
  EXPECT_EQ(value(out, "micro_tokens"), 3 * 2048);
  // What nobody wrote means what it means there.
  EXPECT_EQ(value(out, "seed"), 42);
  EXPECT_EQ(value(out, "too_long"), "skip");
  EXPECT_TRUE(find(out, "seed")->standard);
  EXPECT_FALSE(find(out, "max_length")->standard);

  expect(out, "lora_r", Fate::mapped, "method.rank: 16");
  expect(out, "base_model", Fate::changed, "nothing is downloaded");
  expect(out, "datasets", Fate::changed, "without the frame");
  expect(out, "optimizer", Fate::changed, "fp32");
  expect(out, "lora_dropout", Fate::lost, "0.05");
  expect(out, "warmup_ratio", Fate::lost, "0.1 of all steps");
  expect(out, "evals_per_epoch", Fate::lost, "steps");
  expect(out, "special_tokens", Fate::lost, "tokenizer");
  expect(out, "wandb_project", Fate::no_effect, "TensorBoard");
  expect(out, "lora_model_dir", Fate::no_effect, "nothing is set");
  expect(out, "tf32", Fate::no_effect, "GPU");
  expect(out, "lora_alhpa", Fate::unknown, "lora_alpha");
  EXPECT_EQ(remark(out, "lora_alhpa")->line, 32);
}

TEST_F(Axolotl, BatchesOfSamplesAndOfFullSequences) {
  const std::string start =
      "base_model: m\nadapter: lora\nmicro_batch_size: 4\nsequence_len: 100\n";
  const Imported loose = read(start);
  EXPECT_EQ(value(loose, "batch_tokens"), 400);
  EXPECT_EQ(value(loose, "micro_tokens"), "absent");
  expect(loose, "micro_batch_size x gradient_accumulation_steps", Fate::changed, "at most 100");
  const Imported packed = read(start + "sample_packing: true\nbatch_size: 12\n");
  EXPECT_EQ(value(packed, "batch_tokens"), 1200);
  expect(packed, "batch_size", Fate::mapped, "batch_tokens");
}

TEST_F(Axolotl, SharesOfARunWithItsLength) {
  const Imported out = read(
      "base_model: m\nadapter: lora\nmax_steps: 50\nwarmup_ratio: 0.05\nsave_steps: "
      "0.1\neval_steps: 20\n");
  EXPECT_EQ(value(out, "warmup_steps"), 3);
  EXPECT_EQ(value(out, "eval_every"), 20);
  expect(out, "save_steps", Fate::lost, "a share of the run");
}

TEST_F(Axolotl, TargetsAsPeftReadsThem) {
  const std::string start = "base_model: m\nadapter: qlora\n";
  EXPECT_EQ(value(read(start + "lora_target_linear: true\nlora_target_modules: [q_proj]\n"),
                  "method.target"),
            "all-linear");
  EXPECT_EQ(
      value(read(start + "lora_target_modules: 'model.layers.[\\d]+.(mlp|self_attn).q_proj'\n"),
            "method.target"),
      "re:model.layers.[\\d]+.(mlp|self_attn).q_proj");
  expect(read(start), "adapter", Fate::mapped, "lora");
}

TEST_F(Axolotl, WhatCannotBeReadSaysSo) {
  EXPECT_THROW(read("- 1\n", "axolotl"), Error);
  EXPECT_THROW(read("a: [\n", "axolotl"), Error);
  EXPECT_THROW(read("a: 1\n"), Error);
  EXPECT_THROW(read("base_model: m\nmicro_batch_size: many\n"), Error);
  EXPECT_THROW(read(kLora, "peft"), Error);
}

}  // namespace
}  // namespace smidgen
