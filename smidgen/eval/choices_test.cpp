#include "smidgen/eval/choices.h"

#include <cmath>
#include <unistd.h>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/nn/tiny_model.h"
#include "smidgen/text/tiny_tokenizer.h"

namespace smidgen {
namespace {

// Prompts of different lengths, each with answers of one to four tokens after it; the last token
// of each ends it.
std::vector<Question> questions() {
  const Rng rng(7, "questions");
  uint64_t draw = 0;
  std::vector<Question> all;
  for (int q = 0; q < 9; ++q) {
    std::vector<int32_t> prompt;
    for (uint64_t length = 1 + rng.below(draw++, 12); prompt.size() < length;)
      prompt.push_back(static_cast<int32_t>(rng.below(draw++, 67)));
    Question question;
    question.right = rng.below(draw++, 3);
    for (size_t c = 0; c < 3; ++c) {
      Sample sample{prompt, std::vector<uint8_t>(prompt.size(), 0), "made"};
      for (size_t t = 0; t < 1 + (c + static_cast<size_t>(q)) % 4; ++t) {
        sample.ids.push_back(static_cast<int32_t>(rng.below(draw++, 67)));
        sample.answer.push_back(1);
      }
      sample.ids.push_back(3);
      sample.answer.push_back(q % 2);
      question.answers.push_back(sample);
    }
    // Two answers that share their first token.
    question.answers[1].ids[prompt.size()] = question.answers[0].ids[prompt.size()];
    all.push_back(question);
  }
  return all;
}

// What eval says of the same samples, each by itself.
std::vector<std::vector<double>> losses(const Model& model, const std::vector<Question>& all) {
  std::vector<std::vector<double>> out;
  for (const Question& question : all) {
    Dataset data;
    for (const Sample& sample : question.answers) data.add(sample);
    out.emplace_back();
    for (const SampleLoss& loss :
         evaluate(model, data, {.micro_tokens = 1, .per_sample = true}).per_sample)
      out.back().push_back(loss.loss_sum);
  }
  return out;
}

TEST(Choices, ScoresAreThoseOfEvalForAnyBatching) {
  const auto model = make_tiny_llama();
  const auto all = questions();
  const auto wanted = losses(*model, all);
  for (const int64_t micro : {1, 20, 4096}) {
    int64_t last = 0;
    EvalOptions options{.micro_tokens = micro};
    options.progress = [&](int64_t done, int64_t total) {
      EXPECT_GT(done, last);
      EXPECT_LE(done, total);
      last = done;
    };
    const ChoicesResult result = evaluate_choices(*model, all, options);
    ASSERT_EQ(result.questions.size(), all.size());
    for (size_t q = 0; q < all.size(); ++q) {
      ASSERT_EQ(result.questions[q].scores.size(), 3u);
      for (size_t c = 0; c < 3; ++c)
        EXPECT_NEAR(result.questions[q].scores[c], -wanted[q][c], 1e-4 * (1 + wanted[q][c]))
            << q << " " << c;
    }
  }
}

// With longrope every token turns by other angles once a sequence outgrows the original length:
// nothing may be kept across it.
TEST(Choices, NothingIsKeptWhereALongerSequenceTurnsAnew) {
  Json config = tiny_config("llama");
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", {1.0, 1.0, 1.0, 1.0}},
                            {"long_factor", {2.0, 3.0, 4.0, 5.0}},
                            {"original_max_position_embeddings", 8}};
  const auto model = load_model(tiny_files(config), {.dtype = "fp32"});
  ASSERT_TRUE(model->starts_anew(8, 9));
  const auto all = questions();
  const auto wanted = losses(*model, all);
  const ChoicesResult result = evaluate_choices(*model, all);
  for (size_t q = 0; q < all.size(); ++q) {
    for (size_t c = 0; c < 3; ++c)
      EXPECT_NEAR(result.questions[q].scores[c], -wanted[q][c], 1e-4 * (1 + wanted[q][c]));
  }
}

TEST(Choices, CountsPicksAndLoss) {
  ChoicesResult result;
  result.questions = {{{-1, -2, -3}, 0}, {{-1, -2, -3}, 2}, {{-4, -4}, 1}, {{-5, -1}, 1}};
  EXPECT_EQ(result.questions[2].picked(), 0u);  // of equal ones the first
  EXPECT_DOUBLE_EQ(result.accuracy(), 0.5);
  EXPECT_DOUBLE_EQ(result.accuracy_error(), std::sqrt(0.25 / 3));
  const double three = std::log(1 + std::exp(-1.0) + std::exp(-2.0));
  EXPECT_NEAR(result.loss(), (three + three + 2 + std::log(2.0) + std::log(1 + std::exp(-4.0))) / 4,
              1e-12);
}

class ChoiceFiles : public testing::Test {
 protected:
  ~ChoiceFiles() override { fs::remove(path_); }
  QuestionSet load(const std::string& text, const std::vector<std::string>& choices,
                   const DatasetOptions& options = {}) {
    write_file(path_, text);
    return load_questions(path_, choices, tokenizer_, nullptr, options);
  }
  std::string failure(const std::string& text, const std::vector<std::string>& choices,
                      const DatasetOptions& options = {}) {
    try {
      load(text, choices, options);
    } catch (const Error& error) {
      return str(error.what(), " ", error.hint());
    }
    return "";
  }
  fs::path path_ = fs::temp_directory_path() / str("smidgen_choices_", ::getpid(), ".jsonl");
  Tokenizer tokenizer_ = tiny_tokenizer();
};

const char* kRows =
    "{\"prompt\": \"a:\", \"completion\": \"yes\"}\n{\"prompt\": \"bb:\", \"completion\": "
    "\"no\"}\n";

TEST_F(ChoiceFiles, AreReadWithGivenAndFoundChoices) {
  const QuestionSet given = load(kRows, {"yes", "maybe", "no"});
  ASSERT_EQ(given.questions.size(), 2u);
  EXPECT_EQ(given.questions[0].right, 0u);
  EXPECT_EQ(given.questions[1].right, 2u);
  ASSERT_EQ(given.questions[0].answers.size(), 3u);
  EXPECT_EQ(tokenizer_.decode(given.questions[1].answers[1].ids), "bb:maybe</s>");
  const QuestionSet found = load(kRows, {});
  EXPECT_EQ(found.choices, (std::vector<std::string>{"no", "yes"}));
  EXPECT_EQ(found.questions[0].right, 1u);
}

TEST_F(ChoiceFiles, SayWhatTheyCannotBe) {
  EXPECT_NE(failure(kRows, {"yes", "noo"}).find("'no' is no choice"), std::string::npos);
  EXPECT_NE(failure(kRows, {"yes", "noo"}).find(":2"), std::string::npos);
  EXPECT_NE(failure(kRows, {"yes", "noo"}).find("'noo'"), std::string::npos);
  EXPECT_NE(failure("{\"prompt\": \"a\", \"completion\": \"b\"}\n", {}).find("one choice"),
            std::string::npos);
  EXPECT_NE(failure("{\"text\": \"a\"}\n", {"a", "b"}).find("no answer to choose"),
            std::string::npos);
  EXPECT_NE(failure("\n", {"a", "b"}).find("there is no row"), std::string::npos);
  EXPECT_NE(failure(kRows, {"yes", "no", ""}, {.max_length = 4}).find("max_length"),
            std::string::npos);
  EXPECT_NE(failure(kRows, {"yes", "no"}, {.too_long = TooLong::truncate}).find("cuts off"),
            std::string::npos);
  std::string many;
  for (int i = 0; i < 300; ++i) many += str("{\"prompt\": \"a\", \"completion\": \"", i, "\"}\n");
  EXPECT_NE(failure(many, {}).find("300 different"), std::string::npos);
}

TEST_F(ChoiceFiles, LeaveOutWhatIsTooLongWhenAsked) {
  const QuestionSet set = load(kRows, {"yes", "no"}, {.max_length = 6, .too_long = TooLong::skip});
  EXPECT_EQ(set.questions.size(), 1u);  // "a:yes" and its end; "bb:yes" is one longer
  EXPECT_EQ(set.skipped, 1);
}

}  // namespace
}  // namespace smidgen
