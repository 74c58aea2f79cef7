// Values and defaults by hand from LLaMA-Factory 0.9.5's arguments and examples.
#include "smidgen/base/error.h"
#include "smidgen/io/importers/import_testing.h"

namespace smidgen {
namespace {

using LlamaFactory = ImportTest;

TEST_F(LlamaFactory, DefaultsAreTheirs) {
  const Imported out = read(
      "model_name_or_path: m\nstage: sft\nfinetuning_type: lora\nlora_rank: 12\noutput_dir: "
      "saves\n");
  EXPECT_EQ(out.tool, "llamafactory");
  EXPECT_EQ(value(out, "method.rank"), 12);
  EXPECT_EQ(value(out, "method.alpha"), 24);
  EXPECT_EQ(value(out, "method.target"), "all-linear");
  EXPECT_EQ(value(out, "learning_rate"), 5e-5);
  EXPECT_EQ(value(out, "epochs"), 3.0);
  EXPECT_EQ(value(out, "schedule"), "linear");
  EXPECT_EQ(value(out, "max_length"), 2048);
  EXPECT_EQ(value(out, "too_long"), "truncate");
  EXPECT_EQ(value(out, "batch_tokens"), 8 * 2048);
  EXPECT_EQ(value(out, "save_every"), 500);
  EXPECT_EQ(value(out, "data"), "absent");
}

TEST_F(LlamaFactory, DataSetsByTheirIndex) {
  const std::string folder = (folder_ / "data").string();
  fs::create_directories(folder);
  write_file(folder_ / "data/dataset_info.json", R"({"one": {"file_name": "one.json"},
    "talks": {"file_name": "talks.json", "formatting": "sharegpt", "columns": {"messages": "talk"}}, "far": {"hf_hub_url": "x/y"}})");
  const Imported out = read(
      "model_name_or_path: m\nstage: sft\nlora_target: q_proj, v_proj\ndataset: one,talks, "
      "far,gone\ndataset_dir: " +
      folder + "\n");
  EXPECT_EQ(value(out, "data"),
            Json::array({folder + "/one.json", folder + "/talks.json", "far", "gone"}));
  expect(out, "dataset", Fate::changed, "talks.json: its columns are named");
  expect(out, "dataset", Fate::changed, "far comes from a hub");
  expect(out, "dataset", Fate::changed, "gone stands for an entry");
  EXPECT_EQ(value(out, "method.target"), Json::array({"q_proj", "v_proj"}));
}

TEST_F(LlamaFactory, OtherStagesAreNamed) {
  const std::string start = "model_name_or_path: m\nfinetuning_type: lora\n";
  EXPECT_EQ(value(read(start + "stage: dpo\npref_beta: 0.2\n"), "loss.beta"), 0.2);
  EXPECT_EQ(value(read(start + "stage: dpo\npref_loss: simpo\n"), "loss.gamma"), 0.5);
  expect(read(start + "stage: kto\n"), "stage", Fate::mapped, "loss.name: kto");
  expect(read(start + "stage: rm\n"), "stage", Fate::lost, "preferences");
  expect(read(start + "stage: pt\n"), "stage", Fate::changed, "texts");
  expect(read(start + "quantization_bit: 4\n"), "quantization_bit", Fate::lost, "not quantised");
  expect(read(start + "use_dora: true\n"), "use_dora", Fate::lost, "no field");
  expect(read(start + "use_dora: false\n"), "use_dora", Fate::no_effect, "off");
  expect(read(start + "cutof_len: 1\n"), "cutof_len", Fate::unknown, "cutoff_len");
}

}  // namespace
}  // namespace smidgen
