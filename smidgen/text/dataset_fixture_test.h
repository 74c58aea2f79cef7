// A folder, a small tokenizer and a template: what tests of data sets share.
#pragma once

#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

class DatasetFixture : public testing::Test {
 protected:
  DatasetFixture() : folder_(fs::temp_directory_path() / str("smidgen_dataset_test_", getpid())) {
    remove_tree(folder_);
    fs::create_directories(folder_);
  }
  ~DatasetFixture() override { fs::remove_all(folder_); }

  static Tokenizer tokenizer(const char* name) {
    const Json file =
        read_json(str(SMIDGEN_SOURCE_DIR, "/smidgen/text/testdata/tokenizer_", name, ".json"));
    return Tokenizer(read_tokenizer_json(
        file["tokenizer"], {{"eos_token", "<|end|>"}, {"bos_token", "<|end|>"}}, nullptr, "test"));
  }
  fs::path put(const std::string& name, const std::string& text) {
    write_file(folder_ / name, text);
    return folder_ / name;
  }
  Dataset load(const fs::path& path, DatasetOptions options = {}) {
    return load_dataset(std::span(&path, 1), tokenizer_, &template_, options);
  }
  void refuse(const fs::path& path, const std::string& part, DatasetOptions options = {}) {
    try {
      load(path, options);
      FAIL() << "accepted; wanted " << part;
    } catch (const Error& error) {
      EXPECT_NE(str(error.what(), " ", error.hint()).find(part), std::string::npos)
          << error.what() << error.hint();
    }
  }
  std::string answers(const Sample& sample) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < sample.ids.size(); ++i) {
      if (sample.answer[i]) ids.push_back(sample.ids[i]);
    }
    return tokenizer_.decode(ids);
  }

  fs::path folder_;
  Tokenizer tokenizer_ = tokenizer("digits");
  ChatTemplate template_{
      "{% for m in messages %}{{ m.role + ':\n' + m.content + '<|end|>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"};
};

}  // namespace smidgen
