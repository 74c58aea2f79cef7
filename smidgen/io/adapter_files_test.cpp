#include "smidgen/io/adapter_files.h"

#include <chrono>
#include <fstream>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/json_file.h"

namespace smidgen {
namespace {

const Json kConfig = {{"r", 8}, {"peft_type", "LORA"}, {"eps", 1e-5}};

std::vector<NamedTensor> tensors(const std::string& bytes) {
  return {{"base_model.model.q.lora_A.weight", {Format::f32, {2, 1}, as_span(bytes)}}};
}

size_t entries(const fs::path& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++count;
  return count;
}

void expect_words(const std::string& error, std::initializer_list<const char*> words) {
  for (const char* word : words)
    EXPECT_NE(error.find(word), std::string::npos) << word << " in: " << error;
}

TEST(AdapterFiles, RoundTrip) {
  TemporaryFolder folder;
  const std::string x(8, 'x'), y(8, 'y');
  write_adapter(folder / "new/a/", kConfig, tensors(x), {{"base_digest", "d"}});
  EXPECT_EQ(entries(folder / "new"), 1u);
  EXPECT_EQ(read_file(folder / "new/a/adapter_config.json"),
            "{\n  \"eps\": 1e-05,\n  \"peft_type\": \"LORA\",\n  \"r\": 8\n}");
  const AdapterFiles adapter = read_adapter(folder / "new/a");
  EXPECT_EQ(adapter.config.begin().key(), "eps");
  EXPECT_EQ(adapter.sidecar["base_digest"], "d");
  EXPECT_EQ(as_text(adapter.tensors->view("base_model.model.q.lora_A.weight").bytes), x);
  EXPECT_EQ(SafetensorsFile(folder / "new/a/adapter_model.safetensors").metadata(),
            (Metadata{{"format", "pt"}}));

  expect_words(error_of([&] { write_adapter(folder / "new/a", kConfig, tensors(y), {}); }),
               {"usage", "not empty"});
  write_adapter(folder / "new/a", kConfig, tensors(y), {}, {.replace = true});
  EXPECT_EQ(
      as_text(
          read_adapter(folder / "new/a").tensors->view("base_model.model.q.lora_A.weight").bytes),
      y);
  EXPECT_TRUE(read_adapter(folder / "new/a").sidecar.is_null());
  EXPECT_EQ(entries(folder / "new"), 1u);
  // The mapped file of the old adapter is still readable.
  EXPECT_EQ(as_text(adapter.tensors->view("base_model.model.q.lora_A.weight").bytes), x);
}

TEST(AdapterFiles, NeverReplacesWhatIsNotAnAdapter) {
  TemporaryFolder folder;
  make_folder(folder / "thesis");
  write_file(folder / "thesis/chapter", "x");
  write_file(folder / "file", "x");
  const std::string x(8, 'x');
  expect_words(error_of([&] {
                 write_adapter(folder / "thesis", kConfig, tensors(x), {}, {.replace = true});
               }),
               {"usage", "holds no adapter_config.json"});
  expect_words(
      error_of([&] { write_adapter(folder / "file", kConfig, tensors(x), {}, {.replace = true}); }),
      {"a file of that name"});
  EXPECT_EQ(read_file(folder / "thesis/chapter"), "x");
}

TEST(AdapterFiles, RefusedInWords) {
  TemporaryFolder folder;
  make_folder(folder / "base");
  write_file(folder / "base/config.json", "{}");
  make_folder(folder / "a");
  const auto refuse = [&](const char* name, std::initializer_list<const char*> words) {
    expect_words(error_of([&] { read_adapter(folder / name); }), words);
  };
  refuse("none", {"not_found", "no such adapter folder"});
  refuse("base", {"mismatch", "this is a base model, and an adapter is needed"});
  refuse("a", {"not_found", "no adapter_config.json"});
  refuse("base/config.json", {"usage", "an adapter is a folder"});
  write_file(folder / "a/adapter_config.json", "{\"r\":8}");
  refuse("a", {"format", "no \"peft_type\""});
  refuse("", {"format", "no \"peft_type\""});  // the one adapter inside is what is meant
  make_folder(folder / "b");
  write_file(folder / "b/adapter_config.json", "{}");
  refuse("", {"not_found", "several adapters", "name one", "/a", "/b"});
  write_file(folder / "a/adapter_config.json", "[]");
  refuse("a", {"not a JSON object"});
  write_file(folder / "a/adapter_config.json", "{\"peft_type\":\"LORA\"}");
  refuse("a", {"not_found", "no adapter_model.safetensors"});
  write_file(folder / "a/adapter_model.bin", "x");
  refuse("a", {"unsupported", "pickled", "save_file"});
  write_file(folder / "a/adapter_model.safetensors", "x");
  refuse("a", {"format", "truncated"});
}

TEST(AdapterFiles, HostileConfigurationsNameFileAndPlace) {
  TemporaryFolder folder;
  const std::string x(8, 'x');
  write_adapter(folder / "a", kConfig, tensors(x), {});
  const auto put = [&](const std::string& text) {
    std::ofstream(folder / "a/adapter_config.json", std::ios::binary) << text;
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "end of input"},
      {"{\"peft_type\": 7}", "no \"peft_type\""},
      {"{\"peft_type\": \"LORA\",\n \"peft_type\": \"IA3\"}", "adapter_config.json:2:"},
      {"{\"peft_type\": \"LORA\", \"r\": " + std::string(500, '['), "adapter_config.json:1:"},
      {"{\"peft_type\": \"\xff\"}", "adapter_config.json:1:"},
      {"{\"peft_type\": \"LORA\", \"r\": 1e999}", "adapter_config.json:1:"},
      {std::string("{\"peft_type\": \"LORA\"}\0x", 23), "a zero byte"},
  };
  for (const auto& [text, words] : cases) {
    put(text);
    const std::string error = error_of([&] { read_adapter(folder / "a"); });
    EXPECT_EQ(error.rfind("format: ", 0), 0u) << error;
    EXPECT_NE(error.find(words), std::string::npos) << error;
  }
}

TEST(AdapterFiles, EveryCutOfEitherFileIsRefused) {
  TemporaryFolder folder;
  const std::string x(8, 'x');
  write_adapter(folder / "a", kConfig, tensors(x), {});
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    const fs::path path = folder / "a" / name;
    const std::string whole = read_file(path);
    for (size_t size = 0; size < whole.size(); ++size) {
      std::ofstream(path, std::ios::binary) << whole.substr(0, size);
      EXPECT_EQ(error_of([&] { read_adapter(folder / "a"); }).rfind("format: ", 0), 0u)
          << name << " cut to " << size;
    }
    std::ofstream(path, std::ios::binary) << whole;
  }
  EXPECT_EQ(error_of([&] { read_adapter(folder / "a"); }), "no error");
}

TEST(AdapterFiles, ReplacingSurvivesKill) {
  TemporaryFolder folder;
  const std::string x(8, 'x');
  write_adapter(folder / "a", kConfig, tensors(x), {});
  for (int round = 0; round < 30; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (char c = 'a';; c = c == 'z' ? 'a' : static_cast<char>(c + 1)) {
        const std::string bytes(8, c);
        write_adapter(folder / "a", {{"peft_type", std::string(1, c)}}, tensors(bytes), {},
                      {.replace = true});
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(300 * round + 100));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const AdapterFiles adapter = read_adapter(folder / "a");
    const std::string bytes =
        as_text(adapter.tensors->view("base_model.model.q.lora_A.weight").bytes);
    const auto type = adapter.config["peft_type"].get<std::string>();
    EXPECT_TRUE(type == "LORA" || bytes == std::string(8, type[0])) << type << " with " << bytes;
  }
}

}  // namespace
}  // namespace smidgen
