#include "smidgen/delta/merge/tokenizer_files.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/tiny_tokenizer.h"

namespace smidgen {
namespace {

// A model's folder as far as tokenizers go.
ModelFiles donor_in(const fs::path& folder) {
  make_folder(folder);
  write_file(folder / "tokenizer.json", tiny_tokenizer_json().dump());
  write_file(folder / "tokenizer_config.json",
             R"({"tokenizer_class": "Own", "eos_token": "</s>", "chat_template": "{{ old }}"})");
  write_file(folder / "chat_template.jinja", "{{ old }}");
  write_file(folder / "tokenizer.model", "pieces");
  ModelFiles files;
  files.path = folder;
  files.tokenizer_json = folder / "tokenizer.json";
  files.tokenizer_config = read_json(folder / "tokenizer_config.json");
  return files;
}

TEST(TokenizerFiles, AChangedTokenizerReadsBack) {
  const TemporaryFolder folder;
  const ModelFiles donor = donor_in(folder / "donor");
  const auto base = load_tokenizer(donor);
  TokenizerSetting setting;
  setting.tokens = {{"<x>", {}}};
  const MergedVocabulary merged =
      merge_tokenizers({{.label = "one", .tokenizer = base}}, 0, setting);
  ASSERT_FALSE(merged.unchanged);
  const fs::path out = folder / "out";
  make_folder(out);
  write_merged_tokenizer(out, merged, donor, {});
  EXPECT_FALSE(path_exists(out / "tokenizer.model"));
  EXPECT_EQ(read_file(out / "chat_template.jinja"), "{{ old }}");
  const Json config = read_json(out / "tokenizer_config.json");
  EXPECT_EQ(config["tokenizer_class"], "Own");
  EXPECT_EQ(config["added_tokens_decoder"]["257"]["content"], "<x>");
  const Tokenizer again(read_tokenizer_json(read_json(out / "tokenizer.json"), config,
                                            read_json(out / "special_tokens_map.json"), "again"));
  const std::string text = "a text with <x> in it</s>";
  EXPECT_EQ(again.encode(text), merged.tokenizer->encode(text));
  EXPECT_NE(again.encode(text), base->encode(text));
  EXPECT_EQ(again.eos(), base->eos());
}

TEST(TokenizerFiles, AnUnchangedOneIsCopied) {
  const TemporaryFolder folder;
  const ModelFiles donor = donor_in(folder / "donor");
  const MergedVocabulary merged =
      merge_tokenizers({{.label = "one", .tokenizer = load_tokenizer(donor)}}, 0, {});
  ASSERT_TRUE(merged.unchanged);
  const fs::path out = folder / "out";
  make_folder(out);
  write_merged_tokenizer(out, merged, donor, {});
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model"})
    EXPECT_EQ(read_file(out / name), read_file(donor.path / name)) << name;
}

TEST(TokenizerFiles, ATemplateTakesThePlaceOfAll) {
  const TemporaryFolder folder;
  const ModelFiles donor = donor_in(folder / "donor");
  const MergedVocabulary merged =
      merge_tokenizers({{.label = "one", .tokenizer = load_tokenizer(donor)}}, 0, {});
  const fs::path out = folder / "out";
  make_folder(out / "additional_chat_templates");
  write_file(out / "additional_chat_templates/brief.jinja", "x");
  write_merged_tokenizer(out, merged, donor, "{{ new }}");
  EXPECT_FALSE(path_exists(out / "additional_chat_templates"));
  EXPECT_EQ(read_file(out / "chat_template.jinja"), "{{ new }}");
  EXPECT_EQ(read_json(out / "tokenizer_config.json")["chat_template"], "{{ new }}");
}

}  // namespace
}  // namespace smidgen
