#include "smidgen/io/model_files.h"

#include <gtest/gtest.h>

#include "smidgen/base/sha256.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {
namespace {

class Models : public testing::Test {
 protected:
  void SetUp() override {
    make_folder(folder / "m");
    write_file(folder / "m/config.json", R"({"model_type":"llama","hidden_size":2})");
    weights("m/model.safetensors", {"embed", "lm_head.weight"});
    make_folder(folder / "adapter");
    write_file(folder / "adapter/adapter_config.json", R"({"peft_type":"LORA"})");
    weights("adapter/adapter_model.safetensors", {"a"});
    write_file(folder / "g.gguf", from_hex(golden::kGguf));
  }

  void weights(const std::string& path, const std::vector<std::string>& names) {
    std::vector<NamedTensor> tensors;
    for (const auto& name : names) tensors.push_back({name, {Format::f32, {2}, as_span(bytes)}});
    write_safetensors(folder / path, tensors);
  }

  void refuse(const std::string& spec, std::initializer_list<const char*> words) {
    const std::string error = error_of([&] { open_model(spec); });
    for (const char* word : words)
      EXPECT_NE(error.find(word), std::string::npos) << word << " in: " << error;
  }

  std::string at(const std::string& name) { return (folder / name).string(); }

  TemporaryFolder folder;
  const std::string bytes = std::string(8, 'x');
};

TEST_F(Models, Folder) {
  ModelFiles model = open_model(at("m"));
  EXPECT_EQ(model.kind, ModelFiles::Kind::folder);
  EXPECT_EQ(model.config["hidden_size"], 2);
  EXPECT_TRUE(model.generation_config.is_null());
  EXPECT_TRUE(model.chat_template.empty());
  EXPECT_FALSE(model.tokenizer_json);
  EXPECT_FALSE(model.lm_head_absent);
  EXPECT_FALSE(model.gguf);
  EXPECT_EQ(model.digest(),
            sha256(sha256_file(folder / "m/model.safetensors") + "  model.safetensors\n"));

  weights("m/model.safetensors", {"embed"});
  write_file(folder / "m/generation_config.json", R"({"eos_token_id":[1,2]})");
  write_file(folder / "m/tokenizer.json", "{}");
  write_file(folder / "m/tokenizer_config.json", R"({"chat_template":"from config"})");
  model = open_model(at("m"));
  EXPECT_TRUE(model.lm_head_absent);
  EXPECT_EQ(model.generation_config["eos_token_id"].size(), 2u);
  EXPECT_EQ(*model.tokenizer_json, folder / "m/tokenizer.json");
  EXPECT_EQ(model.chat_template, "from config");
  write_file(
      folder / "m/tokenizer_config.json",
      R"({"chat_template":[{"name":"rag","template":"r"},{"name":"default","template":"d"}]})");
  EXPECT_EQ(open_model(at("m")).chat_template, "d");
  EXPECT_EQ(open_model(at("m")).chat_templates.size(), 2u);
  fs::create_directories(folder / "m/additional_chat_templates");
  write_file(folder / "m/additional_chat_templates/tool_use.jinja", "t");
  EXPECT_EQ(open_model(at("m")).chat_template, "");
  ASSERT_EQ(open_model(at("m")).chat_templates.size(), 1u);
  EXPECT_EQ(open_model(at("m")).chat_templates[0].first, "tool_use");
  fs::remove_all(folder / "m/additional_chat_templates");
  write_file(folder / "m/chat_template.jinja", "from jinja");
  EXPECT_EQ(open_model(at("m")).chat_template, "from jinja");
}

TEST_F(Models, Shards) {
  fs::rename(folder / "m/model.safetensors", folder / "m/b.safetensors");
  weights("m/a.safetensors", {"more"});
  write_file(
      folder / "m/model.safetensors.index.json",
      R"({"weight_map":{"embed":"b.safetensors","lm_head.weight":"b.safetensors","more":"a.safetensors"}})");
  const ModelFiles model = open_model(at("m"));
  EXPECT_TRUE(model.tensors->contains("more"));
  EXPECT_EQ(model.weight_files,
            (std::vector<fs::path>{folder / "m/a.safetensors", folder / "m/b.safetensors"}));
  EXPECT_EQ(model.digest(), sha256(sha256_file(folder / "m/a.safetensors") + "  a.safetensors\n" +
                                   sha256_file(folder / "m/b.safetensors") + "  b.safetensors\n"));
}

TEST_F(Models, Gguf) {
  const ModelFiles model = open_model(at("g.gguf"));
  EXPECT_EQ(model.kind, ModelFiles::Kind::gguf);
  EXPECT_EQ(model.gguf->get_string("general.architecture"), "llama");
  EXPECT_TRUE(model.tensors->contains("half.weight"));
  EXPECT_TRUE(model.lm_head_absent);
  EXPECT_TRUE(model.config.is_null());
  EXPECT_EQ(model.digest(), sha256_file(folder / "g.gguf"));
  const ModelFiles copy = model;
  fs::remove(folder / "g.gguf");
  EXPECT_EQ(copy.digest().size(), 64u);  // remembered
}

TEST_F(Models, BaseAndAdapters) {
  ModelFiles model = open_model(at("g.gguf") + "+" + at("adapter"));
  EXPECT_EQ(model.path, folder / "g.gguf");
  EXPECT_EQ(model.adapters, std::vector<fs::path>{folder / "adapter"});
  model = open_model(at("m") + "+" + at("adapter") + "+" + at("adapter"));
  EXPECT_EQ(model.adapters.size(), 2u);
  // A path that exists as written wins.
  fs::copy(folder / "m", folder / "m+x");
  EXPECT_EQ(open_model(at("m+x")).path, folder / "m+x");
  model = open_model(at("m+x") + "+" + at("adapter"));
  EXPECT_EQ(model.path, folder / "m+x");
  EXPECT_EQ(model.adapters.size(), 1u);
  refuse(at("m") + "+" + at("m"),
         {"mismatch", "this is a base model, and an adapter is needed after '+'"});
  refuse(at("m") + "+" + at("adaptor"), {"not_found", "did you mean 'adapter'"});
  refuse(at("m") + "+", {"not_found"});
}

TEST_F(Models, RefusedInWords) {
  refuse("", {"usage"});
  refuse(at("none"), {"not_found", "no such model", "nothing is downloaded"});
  refuse(at("g.gguff"), {"did you mean 'g.gguf'"});
  refuse(at("adapter"), {"mismatch", "this is an adapter", "BASE+"});
  refuse(at("m/model.safetensors"), {"usage", "name the folder"});
  refuse(at("m/config.json"), {"does not start with 'GGUF'"});
  refuse(folder.path().string(), {"no config.json", "name the GGUF file itself"});
  write_file(folder / "m/config.json", "{\"a\": }");
  refuse(at("m"), {"format", "config.json:1:7"});
  write_file(folder / "m/config.json", "[]");
  refuse(at("m"), {"not a JSON object"});
  write_file(folder / "m/config.json", "{}");
  fs::remove(folder / "m/model.safetensors");
  refuse(at("m"), {"the folder has no weights"});
  write_file(folder / "m/pytorch_model.bin", "x");
  refuse(at("m"), {"unsupported", "pickled", "save_pretrained"});
}

}  // namespace
}  // namespace smidgen
