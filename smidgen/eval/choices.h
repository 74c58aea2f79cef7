// Which of a few answers a model finds likeliest.
//   score_c  = log p(answer c | prompt)   over the tokens that eval counts: the words, and the end
//   of
//                                         the turn or text that follows them
//   picked   = the c with the highest score, of equal ones the first
//   accuracy = share of questions whose right answer is picked
//   loss     = mean of -log(exp(score_right) / sum_c exp(score_c)), in nats
// Source: `acc` of multiple_choice tasks in lm-evaluation-harness 0.4.13. Differs: the end counts,
// so that an answer which another one begins with is told from it; no blank is put between prompt
// and answer.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/eval/evaluate.h"

namespace smidgen {

// A prompt with each of its answers.
struct Question {
  std::vector<Sample> answers;
  size_t right = 0;
};

struct QuestionSet {
  std::string file;
  std::vector<std::string> choices;  // the answers of every question, in this order
  std::vector<Question> questions;
  int64_t skipped = 0;  // too long, with TooLong::skip
};

// Rows of prompt and completion, the completion being one of `choices`; where there are none, those
// are the file's different completions, sorted. Throws data for other rows, for a completion that
// is no choice, for fewer than two choices, for more than 256 found ones, and for questions too
// long; usage for TooLong::truncate, which would cut off the answers.
QuestionSet load_questions(const fs::path& file, std::vector<std::string> choices,
                           const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                           const DatasetOptions& options);

struct AnsweredQuestion {
  std::vector<double> scores;
  size_t right = 0;
  size_t picked() const;
};

struct ChoicesResult {
  std::vector<AnsweredQuestion> questions;  // in the order given
  double accuracy() const;
  double accuracy_error() const;  // sqrt(a (1 - a) / (n - 1)); NaN for one question
  double loss() const;
};

// What a question's answers begin with is computed once and its keys and values are kept, except
// where a longer sequence turns every token anew (Model::starts_anew). At most micro_tokens of
// prompts are computed at a time; the result does not depend on that beyond rounding.
ChoicesResult evaluate_choices(const Model& model, std::span<const Question> questions,
                               const EvalOptions& options = {});

}  // namespace smidgen
