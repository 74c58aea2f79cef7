// Values and defaults by hand from torchtune 0.6.1's recipes and configurations.
#include "smidgen/base/error.h"
#include "smidgen/io/importers/import_testing.h"

namespace smidgen {
namespace {

using Torchtune = ImportTest;

constexpr const char* kLora = R"(
output_dir: /tmp/run
model:
  _component_: torchtune.models.llama3_2.lora_llama3_2_1b
  lora_attn_modules: ['q_proj', 'v_proj', 'output_proj']
  apply_lora_to_mlp: True
  lora_rank: 64
  lora_dropout: 0.0
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /tmp/tokenizer.model
  max_seq_len: 256
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: ${output_dir}/base
  model_type: LLAMA3_2
dataset:
  _component_: torchtune.datasets.alpaca_cleaned_dataset
  packed: True
shuffle: True
batch_size: 4
optimizer:
  _component_: torch.optim.AdamW
  fused: True
  lr: 3e-4
lr_scheduler:
  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup
  num_warmup_steps: 100
epochs: 2
max_steps_per_epoch: 10
gradient_accumulation_steps: 8
clip_grad_norm: null
profiler:
  enabled: False
  cpu: True
lr_shceduler: 1
)";

TEST_F(Torchtune, ComponentsAreReadInside) {
  const Imported out = read(kLora);
  EXPECT_EQ(out.tool, "torchtune");
  EXPECT_EQ(value(out, "model"), "/tmp/run/base");
  EXPECT_EQ(value(out, "out"), "/tmp/run");
  EXPECT_EQ(value(out, "method.rank"), 64);
  EXPECT_EQ(value(out, "method.alpha"), 16);
  EXPECT_EQ(value(out, "method.target"),
            Json::array({"q_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "up_proj"}));
  EXPECT_EQ(value(out, "max_length"), 256);
  EXPECT_EQ(value(out, "batch_tokens"), 4 * 8 * 256);
  EXPECT_EQ(value(out, "learning_rate"), 3e-4);
  EXPECT_EQ(value(out, "weight_decay"), 0.01);
  EXPECT_EQ(value(out, "max_grad_norm"), 0);
  EXPECT_EQ(value(out, "schedule"), "cosine");
  EXPECT_EQ(value(out, "warmup_steps"), 100);
  EXPECT_EQ(value(out, "max_steps"), 20);
  expect(out, "dataset.train_on_input", Fate::lost, "loss on the prompt");
  expect(out, "dataset._component_", Fate::changed, "yahma/alpaca-cleaned");
  expect(out, "profiler", Fate::no_effect, "TensorBoard");
  expect(out, "tokenizer.path", Fate::no_effect, "tokenizer");
  expect(out, "optimizer.fused", Fate::no_effect, "GPU");
  expect(out, "lr_shceduler", Fate::unknown, "lr_scheduler");
}

TEST_F(Torchtune, WhatHasNoPlaceIsNamed) {
  const std::string start = "model:\n  _component_: torchtune.models.llama3.qlora_llama3_8b\n";
  expect(read(start), "model._component_", Fate::mapped, "lora");
  expect(read(start + "loss:\n  _component_: torchtune.rlhf.loss.DPOLoss\n"), "loss._component_",
         Fate::mapped, "loss.name: dpo");
  EXPECT_EQ(value(read(start), "schedule"), "constant");
}

// What the build's tune verb has decides: PEFT's names lead to its fields.
TEST_F(Torchtune, FieldsOfTheBuildAreUsed) {
  const Json field = [](const char* name, const char* peft) {
    return Json{{"name", name}, {"type", "float"}, {"peft", peft}, {"help", ""}, {"default", 0.0}};
  }("dropout", "lora_dropout");
  const Json document = {
      {"verbs",
       {{"tune",
         {{"summary", ""},
          {"fields", Json::array({{{"name", "method"},
                                   {"type", "oneof"},
                                   {"registry", "method"},
                                   {"help", ""},
                                   {"default", {{"name", "lora"}}}}})}}}}},
      {"registries",
       {{"method", {{"lora", {{"summary", ""}, {"fields", Json::array({field})}}}}}}}};
  const std::string start =
      "model:\n  _component_: x.lora_y\n  lora_dropout: 0.1\n  lora_rank: 4\n";
  const Imported out = read(start, {}, document);
  EXPECT_EQ(value(out, "method.dropout"), 0.1);
  EXPECT_EQ(value(out, "method.rank"), "absent");
  expect(out, "model.lora_dropout", Fate::mapped, "method.dropout: 0.1");
  expect(out, "model.lora_rank", Fate::lost, "no field");
}

}  // namespace
}  // namespace smidgen
