#include "smidgen/text/dataset.h"

#include <set>

#include "smidgen/text/dataset_fixture_test.h"
#include "smidgen/text/loader.h"
#include "smidgen/text/packing.h"

namespace smidgen {
namespace {

using DatasetTest = DatasetFixture;

TEST_F(DatasetTest, AnswersAreTheAssistantTurnsWithTheirEnd) {
  const Dataset data = load(put(
      "a.jsonl",
      R"({"messages": [{"role":"user","content":"the"},{"role":"assistant","content":"cat"},{"role":"user","content":"q"},{"role":"assistant","content":"mat"}]})"));
  ASSERT_EQ(data.size(), 1);
  EXPECT_EQ(answers(data.at(0)), "cat<|end|>mat<|end|>");
  EXPECT_EQ(data.where(0), (folder_ / "a.jsonl").string() + ":1");
}

TEST_F(DatasetTest, PromptAndCompletionWithAndWithoutTemplate) {
  const fs::path path = put("b.jsonl", "{\"prompt\": \"the cat\", \"completion\": \" sat\"}\n\n");
  EXPECT_EQ(answers(load(path).at(0)), " sat<|end|>");
  const Dataset plain = load(path, {.chat_template = TemplateUse::none});
  EXPECT_EQ(tokenizer_.decode(plain.at(0).ids), "the cat sat<|end|>");
  EXPECT_EQ(answers(plain.at(0)), " sat<|end|>");
}

TEST_F(DatasetTest, TextHasOneBosAndOneEos) {
  const Tokenizer with_bos = tokenizer("prefix");
  ASSERT_TRUE(with_bos.adds_bos());
  for (const char* text : {"the cat", "<|end|>the cat", "the cat<|end|>"}) {
    const Sample s = tokenize_row({{"text", text}}, "x:1", with_bos, nullptr);
    EXPECT_EQ(std::count(s.ids.begin(), s.ids.end(), *with_bos.bos()), 2) << text;
    EXPECT_EQ(s.ids.front(), *with_bos.bos());
    EXPECT_EQ(s.ids.back(), *with_bos.eos());
    EXPECT_EQ(s.answer[0], 0);
    EXPECT_EQ(std::count(s.answer.begin(), s.answer.end(), 1), static_cast<int>(s.ids.size()) - 1);
  }
}

TEST_F(DatasetTest, PlainTextIsCutAtBlankLines) {
  const Dataset data = load(put("c.txt", "the cat\nsat\n\n\nthe mat\r\n"));
  ASSERT_EQ(data.size(), 2);
  EXPECT_EQ(tokenizer_.decode(data.at(0).ids), "the cat\nsat<|end|>");
  EXPECT_EQ(tokenizer_.decode(data.at(1).ids), "the mat<|end|>");
  EXPECT_NE(data.digest(), load(put("d.txt", "the cat\nsat\n\n\nthe Mat\n")).digest());
}

TEST_F(DatasetTest, TooLongSamples) {
  const fs::path path = put("e.txt", "the cat sat on the mat, then the other\n\nthe\n");
  refuse(path, "1 sample longer than max_length 4", {.max_length = 4});
  EXPECT_EQ(load(path, {.max_length = 4, .too_long = TooLong::skip}).skipped(), 1);
  const Dataset cut = load(path, {.max_length = 4, .too_long = TooLong::truncate});
  EXPECT_EQ(cut.truncated(), 1);
  EXPECT_EQ(cut.at(0).ids.size(), 4u);
}

TEST_F(DatasetTest, NotesInARowAreNotRead) {
  const std::string notes = R"(, "meta": {"text": "no", "line": 3}, "id": 7, "source": null})";
  for (
      const std::string row :
      {R"({"text": "the cat")", R"({"prompt": "the", "completion": "cat")",
       R"({"messages": [{"role": "user", "content": "the"}, {"role": "assistant", "content": "cat"}])"}) {
    EXPECT_EQ(load(put("with.jsonl", row + notes)).digest(),
              load(put("bare.jsonl", row + "}")).digest())
        << row;
  }
  refuse(put("m.jsonl", "{\"text\": \"a\", \"metta\": 1}\n"), "did you mean 'meta'");
}

TEST_F(DatasetTest, BadInputIsNamedWithItsLine) {
  refuse(put("1.jsonl", ""), "empty");
  refuse(put("2.jsonl", "\n\n"), "empty");
  refuse(put("3.jsonl", "{\"text\": \"a\"}\n{\"text\": }\n"), "3.jsonl:2");
  refuse(put("4.jsonl", "{\"text\": \"a\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n"),
         "line 1 is text, line 2 is prompt/completion");
  refuse(put("5.jsonl", "{\"txt\": \"a\"}\n"), "did you mean 'text'");
  refuse(put("6.jsonl", "{\"text\": 3}\n"), "not number");
  refuse(put("7.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\xFF\"}\n"), "7.jsonl:2");
  refuse(put("8.jsonl", "{\"messages\": [{\"role\": \"asistant\", \"content\": \"a\"}]}\n"),
         "did you mean 'assistant'");
  refuse(put("9.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n"),
         "without an answer token");
  refuse(put("10.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": 3}]}\n"),
         "should be a string, not number");
  refuse(put("10.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": null}]}\n"),
         "should be a string, not null");
  refuse(put("10.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": [\"a\"]}]}\n"),
         "should be an object, not string");
  refuse(put("10.jsonl", "[1]\n"), "should be an object");
  refuse(folder_, "folder");
  refuse(folder_ / "missing.jsonl", "missing.jsonl");
}

TEST(Packing, TargetsStayInsideTheirSequence) {
  const Sample a{{5, 6, 7}, {0, 0, 1}, "a"}, b{{8, 9}, {0, 1}, "b"};
  const std::vector<Sample> both = {a, b};
  const PackedBatch batch = pack(both);
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{5, 6, 7, 8, 9}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 0, 1}));
  EXPECT_EQ(batch.starts, (std::vector<int32_t>{0, 3, 5}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{-100, 7, -100, 9, -100}));
  EXPECT_EQ(batch.answer_tokens, 2);
}

TEST(Loader, EachEpochVisitsEachSampleOnceAndResumeIsIdentical) {
  std::vector<int32_t> lengths;
  for (int i = 0; i < 97; ++i) lengths.push_back(1 + i * 37 % 50);
  const LoaderConfig config{.batch_tokens = 120, .micro_tokens = 40, .seed = 3};
  Loader loader(lengths, config);
  std::vector<int> seen(lengths.size(), 0);
  std::vector<Step> steps;
  while (loader.state().epoch < 3) {
    const LoaderState state = loader.state();
    const Step step = loader.next();
    EXPECT_EQ(step.begin, state);
    EXPECT_LE(step.tokens, 120);
    for (const auto& micro : step.micro) {
      int64_t tokens = 0;
      for (const int64_t i : micro) tokens += lengths[static_cast<size_t>(i)];
      for (const int64_t i : micro) ++seen[static_cast<size_t>(i)];
      EXPECT_TRUE(tokens <= 40 || micro.size() == 1);
    }
    steps.push_back(step);
    Loader resumed(lengths, config);
    resumed.restore(state);
    EXPECT_EQ(resumed.next().micro, step.micro);
    EXPECT_EQ(resumed.state(), loader.state());
  }
  const size_t extra = loader.state().position;
  size_t total = 0;
  for (const int count : seen) {
    EXPECT_TRUE(count == 3 || count == 4);
    total += static_cast<size_t>(count);
  }
  EXPECT_EQ(total, 3 * lengths.size() + extra);
  EXPECT_NE(steps[0].micro,
            Loader(lengths, {.batch_tokens = 120, .micro_tokens = 40, .seed = 4}).next().micro);
}

TEST(Loader, RefusesWhatCannotEnd) {
  EXPECT_THROW(Loader({}, {}), Error);
  EXPECT_THROW(Loader({3, 0}, {}), Error);
  EXPECT_THROW(Loader({3}, {.batch_tokens = 0}), Error);
  Loader loader({3}, {});
  EXPECT_THROW(loader.restore({0, 1}), Error);
}

}  // namespace
}  // namespace smidgen
