// Rows of preference data, of other programs, and lists of rows.
#include "smidgen/text/dataset_fixture_test.h"
#include "smidgen/text/dataset_row.h"

namespace smidgen {
namespace {

using FormsTest = DatasetFixture;

constexpr const char* kPair = R"({"prompt": "the cat", "chosen": "sat", "rejected": "mat"})";

TEST_F(FormsTest, APairIsTwoSequencesAndOneUnit) {
  const Dataset data =
      load(put("p.jsonl", str(kPair, "\n", kPair, "\n")), {.form = DataForm::pairs});
  ASSERT_EQ(data.size(), 4);
  EXPECT_EQ(data.units(), 2);
  EXPECT_EQ(answers(data.at(2)), "sat<|end|>");
  EXPECT_EQ(answers(data.at(3)), "mat<|end|>");
  EXPECT_EQ(data.where(3), (folder_ / "p.jsonl").string() + ":2");
  EXPECT_EQ(data.unit_lengths()[1], data.lengths()[2] + data.lengths()[3]);
}

TEST_F(FormsTest, OnlyTheCompletionOfAListIsAnAnswer) {
  const std::string user = R"({"role": "user", "content": "q"})",
                    old = R"({"role": "assistant", "content": "the"})",
                    good = R"({"role": "assistant", "content": "cat"})",
                    bad = R"({"role": "assistant", "content": "mat"})";
  const std::string prompt = str(user, ",", old, ",", user);
  const std::string row =
      str(R"({"prompt": [)", prompt, R"(], "chosen": [)", good, R"(], "rejected": [)", bad, "]}");
  const Dataset data = load(put("l.jsonl", row), {.form = DataForm::pairs});
  EXPECT_EQ(answers(data.at(0)), "cat<|end|>");
  EXPECT_EQ(answers(data.at(1)), "mat<|end|>");
  // Without "prompt" it is what both lists begin with.
  const std::string implicit =
      str(R"({"chosen": [)", prompt, ",", good, R"(], "rejected": [)", prompt, ",", bad, "]}");
  EXPECT_EQ(load(put("i.jsonl", implicit), {.form = DataForm::pairs}).digest(), data.digest());
}

TEST_F(FormsTest, AnImplicitPromptOfStringsEndsBeforeTheSpaceAndNotInsideACharacter) {
  const Json row =
      explicit_prompt({{"chosen", "The sky is blue"}, {"rejected", "The sky is green"}}, "x:1");
  EXPECT_EQ(row["prompt"], "The sky is");
  EXPECT_EQ(row["chosen"], " blue");
  EXPECT_EQ(row["rejected"], " green");
  const Json cut = explicit_prompt({{"chosen", "a\xC3\xA9"}, {"rejected", "a\xC3\xA8"}}, "x:1");
  EXPECT_EQ(cut["prompt"], "a");
  EXPECT_EQ(cut["chosen"], "\xC3\xA9");
}

TEST_F(FormsTest, Labels) {
  const Dataset data = load(put("k.jsonl", R"({"prompt": "the", "completion": "cat", "label": true}
{"prompt": "the", "completion": "mat", "label": false}
)"),
                            {.form = DataForm::labelled});
  ASSERT_EQ(data.size(), 2);
  EXPECT_TRUE(data.label(0));
  EXPECT_FALSE(data.label(1));
  EXPECT_EQ(answers(data.at(1)), "mat<|end|>");
  const Dataset other =
      load(put("k2.jsonl", R"({"prompt": "the", "completion": "cat", "label": true}
{"prompt": "the", "completion": "mat", "label": true}
)"),
           {.form = DataForm::labelled});
  EXPECT_NE(other.digest(), data.digest());
}

TEST_F(FormsTest, WrongPreferenceRowsAreNamed) {
  const DatasetOptions pairs{.form = DataForm::pairs}, labelled{.form = DataForm::labelled};
  refuse(put("1.jsonl", R"({"prompt": "a", "chosen": "b"})"), "'rejected' is missing", pairs);
  refuse(put("2.jsonl", R"({"prompt": "a", "chosen": "b", "rejected": "b"})"),
         "nothing is preferred", pairs);
  refuse(put("3.jsonl", R"({"prompt": "a", "chosen": "b", "rejected": 3})"), "not number", pairs);
  refuse(put("4.jsonl", R"({"prompt": ["a"], "chosen": "b", "rejected": "c"})"),
         "should be of the kind", pairs);
  refuse(put("5.jsonl", R"({"prompt": "a", "completion": "b"})"), "--loss cross_entropy", pairs);
  refuse(put("6.jsonl", kPair), "--loss dpo, orpo or simpo");
  refuse(put("7.jsonl", R"({"prompt": "a", "completion": "b", "label": 1})"),
         "'label' should be true or false", labelled);
  refuse(put("8.jsonl", R"({"text": "a", "label": true})"), "'label' without 'prompt'", labelled);
  refuse(put("9.jsonl", str(kPair, "\n", R"({"prompt": "a", "completion": "b"})")),
         "line 1 is prompt/chosen/rejected, line 2 is prompt/completion", pairs);
  refuse(put("10.jsonl", R"({"prompt": "a", "chosen": "b", "rejected": "c", "text": "d"})"),
         "more than one form", pairs);
  refuse(put("11.jsonl", R"({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role":)"
                         R"( "user", "content": "b"}]})"),
         "no message in common", pairs);
  // Equal as tokens once they are cut.
  refuse(put("12.jsonl", R"({"prompt": "the", "chosen": "catcat", "rejected": "catmat"})"),
         "max_length cuts off where they differ",
         {.max_length = 2,
          .too_long = TooLong::truncate,
          .chat_template = TemplateUse::none,
          .form = DataForm::pairs});
}

TEST_F(FormsTest, AlpacaIsAPromptAndACompletion) {
  const auto same = [&](const std::string& theirs, const std::string& ours) {
    EXPECT_EQ(load(put("a.jsonl", theirs)).digest(), load(put("b.jsonl", ours)).digest()) << theirs;
  };
  same(R"({"instruction": "the", "input": "cat", "output": "sat"})",
       R"({"prompt": "the\ncat", "completion": "sat"})");
  same(R"({"instruction": "the", "input": "", "output": "sat", "id": 3})",
       R"({"prompt": "the", "completion": "sat"})");
  same(
      R"({"instruction": "the", "output": "sat", "system": "mat"})",
      R"({"messages": [{"role": "system", "content": "mat"}, {"role": "user", "content": "the"}, {"role": "assistant", "content": "sat"}]})");
  refuse(put("w.jsonl", R"({"instruction": "the", "inputs": "cat", "output": "sat"})"),
         "did you mean 'input'");
  refuse(put("w.jsonl", R"({"instruction": "the"})"), "'output' is missing");
}

TEST_F(FormsTest, ShareGptIsMessages) {
  const Dataset theirs = load(put(
      "a.jsonl",
      R"({"conversations": [{"from": "human", "value": "the"}, {"from": "gpt", "value": "cat"}], "system": "mat"})"));
  const Dataset ours = load(put(
      "b.jsonl",
      R"({"messages": [{"role": "system", "content": "mat"}, {"role": "user", "content": "the"}, {"role": "assistant", "content": "cat"}]})"));
  EXPECT_EQ(theirs.digest(), ours.digest());
  refuse(put("w.jsonl", R"({"conversations": [{"from": "humen", "value": "a"}]})"),
         "did you mean 'human'");
  refuse(put("w.jsonl", R"({"conversations": [{"from": "gpt"}]})"), "'value' is missing");
  refuse(put("w.jsonl", R"({"conversations": 3})"), "should be a list");
}

TEST_F(FormsTest, AListOfRowsIsReadLikeLines) {
  const Dataset lines =
      load(put("a.jsonl", "{\"text\": \"the ] cat\"}\n{\"text\": \"sat\\\"}\"}\n"));
  for (const char* list :
       {"[{\"text\": \"the ] cat\"}, {\"text\": \"sat\\\"}\"}]",
        "\n[\n  {\n    \"text\": \"the ] cat\"\n  }\n,{\"text\": \"sat\\\"}\"}\n]\n"}) {
    const Dataset data = load(put("a.json", list));
    EXPECT_EQ(data.digest(), lines.digest());
  }
  EXPECT_EQ(load(put("b.json", "[\n{\"text\": \"the\"},\n\n {\"text\": \"cat\"}]")).where(1),
            (folder_ / "b.json").string() + ":4");
  // Still lines where it does not begin with a bracket.
  EXPECT_EQ(load(put("c.json", "{\"text\": \"the\"}\n{\"text\": \"cat\"}\n")).size(), 2);
  refuse(put("1.json", "[{\"text\": \"the\"} {\"text\": \"cat\"}]"), "a comma or ]");
  refuse(put("2.json", "[{\"text\": \"the\"}"), "a ] is missing");
  refuse(put("3.json", "[{\"text\": \"the\""), "does not end");
  refuse(put("4.json", "[{\"text\": \"the\"}] x"), "something follows");
  refuse(put("5.json", "[3]"), "should be an object");
  refuse(put("6.json", "[{\"text\": \"the\"},]"), "should be an object");
  refuse(put("7.json", "[]"), "empty");
  refuse(put("8.json", "[\n{\"text\": }]"), "8.json:2");
  refuse(put("9.json", "[{\"text\": \"the\"},\n{\"text\": \"\xFF\"}]"), "9.json:2");
}

TEST_F(FormsTest, FoldersAndPatternsNameTheirFiles) {
  put("b.jsonl", "{\"text\": \"the\"}");
  put("a.jsonl", "{\"text\": \"cat\"}");
  put("notes.md", "no data");
  put(".hidden.jsonl", "no data");
  const auto names = [&](const std::string& named) {
    std::string all;
    for (const fs::path& path : data_files(std::vector<std::string>{named}))
      all += path.filename().string() + " ";
    return all;
  };
  EXPECT_EQ(names(folder_.string()), "a.jsonl b.jsonl ");
  EXPECT_EQ(names((folder_ / "*.jsonl").string()), "a.jsonl b.jsonl ");
  EXPECT_EQ(names((folder_ / "b.jsonl").string()), "b.jsonl ");
  EXPECT_EQ(names((folder_ / "notes.md").string()), "notes.md ");
  EXPECT_THROW(names((folder_ / "*.txt").string()), Error);
  EXPECT_THROW(names((folder_ / "none.jsonl").string()), Error);
  fs::create_directories(folder_ / "empty");
  EXPECT_THROW(names((folder_ / "empty").string()), Error);
}

}  // namespace
}  // namespace smidgen
