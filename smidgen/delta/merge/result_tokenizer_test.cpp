// Whole merges with tokenizers: tests/parity/test_merge_tokenizers.py and
// tests/command/test_merge_tokenizers.py.
#include "smidgen/delta/merge/result_tokenizer.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/text/tiny_tokenizer.h"

namespace smidgen {
namespace {

// Folders a and b of 257 tokens and an added one each; c has a's tokenizer and more rows.
struct Scene {
  TemporaryFolder home;

  Scene() {
    make("a", "<a>", 258);
    make("b", "<b>", 258);
    make("c", "<a>", 260);
  }
  void make(const std::string& name, const std::string& added, int64_t rows) const {
    make_folder(home / name);
    Json tokenizer = tiny_tokenizer_json();
    tokenizer["added_tokens"].push_back(tokenizer["added_tokens"][0]);
    tokenizer["added_tokens"][1]["id"] = 257;
    tokenizer["added_tokens"][1]["content"] = added;
    write_file(home / name / "tokenizer.json", tokenizer.dump());
    write_file(home / name / "config.json", R"({"model_type": "x"})");
    const std::vector<float> values(static_cast<size_t>(2 * rows), 1.f);
    write_safetensors(
        home / name / "model.safetensors",
        {{"embed_tokens.weight", {Format::f32, {rows, 2}, std::as_bytes(std::span(values))}}});
  }
  MergeRecipe recipe(const std::string& models, const std::string& rest) const {
    return parse_merge_recipes(str("merge_method: linear\nmodels: [", models, "]\n", rest), "m.yml")
        .at(0);
  }
  ResultTokenizer choose(const MergeRecipe& recipe, bool truncate = false) const {
    const auto open = [&](const ModelRef& model) {
      return open_source((home / model.path).string());
    };
    Models models;
    for (const ModelRef& model : models_of(recipe)) models.push_back(open(model));
    return choose_tokenizer(recipe, models, {.open = open, .truncate = truncate});
  }
  ResultTokenizer choose(const std::string& rest) const {
    return choose(recipe("{model: a}, {model: b}", rest));
  }
};

TEST(ResultTokenizer, WithoutASettingTheBasesStays) {
  const Scene scene;
  const ResultTokenizer result = scene.choose("base_model: b");
  EXPECT_FALSE(result.vocabulary);
  EXPECT_EQ(result.donor, result.models[1]);
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_NE(result.notes[0].find("under 1 id (257: '<a>', not '<b>')"), std::string::npos)
      << result.notes[0];
  EXPECT_TRUE(scene.choose(scene.recipe("{model: a}, {model: a}", "")).notes.empty());
}

TEST(ResultTokenizer, SizesThatDifferAreRefusedOrCut) {
  const Scene scene;
  const MergeRecipe recipe = scene.recipe("{model: a}, {model: c}", "");
  EXPECT_NE(error_of([&] { scene.choose(recipe); }).find("vocabularies of different sizes"),
            std::string::npos);
  const ResultTokenizer cut = scene.choose(recipe, true);
  EXPECT_EQ(cut.models[1]->tensors()[0].shape[0], 258);
  EXPECT_EQ(cut.notes.size(), 1u);
  const MergeRecipe both = scene.recipe("{model: a}, {model: c}", "tokenizer_source: base");
  EXPECT_EQ(error_of([&] { scene.choose(both, true); }).substr(0, 6), "usage:");
}

TEST(ResultTokenizer, TheRecipeSaysWhatRowsAre) {
  const Scene scene;
  ResultTokenizer result = scene.choose(
      "tokenizer: {tokens: {<x>: {source: {kind: model_token, model: b, token: <b>}}}, "
      "pad_to_multiple_of: 8}");
  EXPECT_EQ(result.vocabulary->ids, 260);
  EXPECT_EQ(result.vocabulary->rows, 264);
  ASSERT_EQ(result.vocabulary->configured.size(), 1u);
  EXPECT_EQ(result.vocabulary->configured[0].model, 1u);
  EXPECT_EQ(result.vocabulary->configured[0].old_id, 257);
  EXPECT_EQ(result.models[0]->tensors()[0].shape[0], 264);
  EXPECT_FALSE(result.configured) << "the ids of the base stay";
  result = scene.choose("tokenizer_source: b");
  EXPECT_TRUE(result.configured->find("<a>"));
  EXPECT_EQ(result.donor->label(), (scene.home / "b").string());
}

TEST(ResultTokenizer, AModelThatIsNotMergedMayGiveTheTokenizer) {
  const Scene scene;
  const ResultTokenizer result =
      scene.choose(scene.recipe("{model: a}", "tokenizer: {source: b, transplant: mean}"));
  EXPECT_EQ(result.donor->label(), (scene.home / "b").string());
  EXPECT_EQ(result.models[0]->tensors()[0].shape[0], 258);
  const ResultTokenizer zeros = scene.choose(scene.recipe("{model: a}", "tokenizer_source: b"));
  EXPECT_NE(join(zeros.notes).find("no model has a row for <b>: zeros"), std::string::npos);
  EXPECT_NE(error_of([&] {
              scene.choose("tokenizer: {tokens: {<b>: {source: c}}}");
            }).find("is to come from 'c', which is not merged here (m.yml:3:"),
            std::string::npos);
}

TEST(ResultTokenizer, ConfigurationsAreBroughtUpToDate) {
  const Scene scene;
  ResultTokenizer result = scene.choose("tokenizer_source: b");
  Json config = {{"vocab_size", 258},
                 {"eos_token_id", 257},
                 {"text_config", {{"vocab_size", 258}, {"bos_token_id", 256}}},
                 {"vision_config", {{"vocab_size", 99}}}};
  std::vector<std::string> notes;
  set_vocabulary(config, 300, result, notes);
  EXPECT_EQ(config.dump(),
            R"({"vocab_size":300,"eos_token_id":null,"text_config":{"vocab_size":300,)"
            R"("bos_token_id":256},"vision_config":{"vocab_size":99}})");
  EXPECT_EQ(notes.size(), 1u);
  config = {{"model_type", "x"}};
  set_vocabulary(config, 258, result, notes);
  EXPECT_EQ(config.dump(), R"({"model_type":"x"})");
  set_vocabulary(config, 300, result, notes);
  EXPECT_EQ(config["vocab_size"], 300);
}

TEST(ResultTokenizer, AnEmbeddingAndAHeadOfOtherSizesAreNoModel) {
  MergePlan plan;
  for (const int64_t rows : {258, 260}) {
    PlannedTensor tensor;
    tensor.task.tensor = str("tensor", rows);
    tensor.task.shape = {rows, 2};
    tensor.vocabulary = true;
    plan.tensors.push_back(tensor);
  }
  ResultTokenizer result;
  EXPECT_EQ(vocabulary_rows(plan, result), 0);
  result.base_rows = 258;
  EXPECT_EQ(error_of([&] { vocabulary_rows(plan, result); }).substr(0, 62),
            "mismatch: in the result tensor258 would have 258 rows and tens");
  plan.tensors.pop_back();
  EXPECT_EQ(vocabulary_rows(plan, result), 258);
}

}  // namespace
}  // namespace smidgen
