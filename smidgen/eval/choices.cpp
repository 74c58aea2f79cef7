#include "smidgen/eval/choices.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/row_source.h"

namespace smidgen {
namespace {

constexpr size_t kMostFound = 256;  // choices; a file with more holds free answers
constexpr size_t kMostRows = 64;    // whose logits exist at a time

struct Row {
  Json row;
  std::string where, completion;
};

std::vector<Row> read_rows(const fs::path& file) {
  RowSource source(file);
  std::vector<Row> rows;
  for (RawRow raw; source.next(raw); source.release()) {
    std::string where = str(file.string(), ":", raw.line);
    Json row = source.json() ? house_row(parse_json(raw.text, file.string(), raw.line), where)
                             : Json{{"text", raw.text}};
    const RowForm form = row_texts(row, where).form;
    if (form != RowForm::completion)
      throw Error(ErrorKind::data, str("a row of ", to_string(form), " has no answer to choose"),
                  where, "rows of prompt and completion have");
    auto completion = row["completion"].get<std::string>();
    rows.push_back({std::move(row), std::move(where), std::move(completion)});
  }
  if (rows.empty()) throw Error(ErrorKind::data, "there is no row", file.string());
  return rows;
}

std::vector<std::string> found_choices(const std::vector<Row>& rows, const std::string& file) {
  std::set<std::string> found;
  for (const Row& row : rows) found.insert(row.completion);
  if (found.size() > kMostFound)
    throw Error(ErrorKind::data, str("the rows have ", found.size(), " different completions"),
                file, "name the choices: --choices A,B,...");
  return {found.begin(), found.end()};
}

size_t last_answer(const Sample& sample) {
  const auto mark = std::find(sample.answer.rbegin(), sample.answer.rend(), 1);
  return static_cast<size_t>(std::distance(mark, sample.answer.rend())) - 1;
}

// Tokens that all answers begin with and that no answer token is among. What follows them holds at
// least one token to read before the last that is predicted.
size_t shared_tokens(const Question& question) {
  const std::vector<int32_t>& first = question.answers.front().ids;
  size_t shared = first.size();
  for (const Sample& sample : question.answers) {
    const auto mark = std::find(sample.answer.begin(), sample.answer.end(), 1);
    const auto same =
        std::mismatch(first.begin(), first.end(), sample.ids.begin(), sample.ids.end()).first;
    shared = std::min({shared, static_cast<size_t>(mark - sample.answer.begin()),
                       static_cast<size_t>(same - first.begin()), last_answer(sample) - 1});
  }
  return shared;
}

// log p of every token after each of these rows, fp32 [rows, vocabulary].
at::Tensor log_probabilities(const Model& model, const at::Tensor& hidden, const Rows& rows,
                             std::span<const int64_t> picked) {
  const at::Tensor index = at::tensor(at::IntArrayRef(picked.data(), picked.size()), at::kLong);
  return at::log_softmax(model.logits(hidden.index_select(0, index), select(rows, index)), 1);
}

// A token to predict: after which row, which one, and the score that it belongs to.
struct Wanted {
  int64_t row = 0;
  int32_t id = 0;
  double* score = nullptr;
};

void add_scores(const Model& model, const at::Tensor& hidden, const Rows& rows,
                std::span<const Wanted> wanted) {
  for (size_t begin = 0; begin < wanted.size(); begin += kMostRows) {
    const auto some = wanted.subspan(begin, std::min(kMostRows, wanted.size() - begin));
    std::vector<int64_t> picked;
    for (const Wanted& w : some) picked.push_back(w.row);
    const at::Tensor scores = log_probabilities(model, hidden, rows, picked);
    for (size_t i = 0; i < some.size(); ++i)
      *some[i].score += scores[static_cast<int64_t>(i)][some[i].id].item<double>();
  }
}

struct Scored {
  const Question* question;
  AnsweredQuestion* result;
  size_t shared;
};

// One answer after the other, each whole.
void score_alone(const Model& model, int slot, const Scored& scored) {
  for (size_t c = 0; c < scored.question->answers.size(); ++c) {
    const Sample& sample = scored.question->answers[c];
    std::vector<Wanted> wanted;
    for (size_t i = 1; i < sample.ids.size(); ++i) {
      if (sample.answer[i])
        wanted.push_back({static_cast<int64_t>(i) - 1, sample.ids[i], &scored.result->scores[c]});
    }
    const Stream stream = make_stream(sample.ids, slot);
    add_scores(model, model.forward(stream), *stream.rows, wanted);
  }
}

void score_together(const Model& model, int slot, std::span<const Scored> batch) {
  const std::vector<int> slots(batch.size(), slot);
  std::vector<std::span<const int32_t>> parts;
  std::vector<int64_t> shared, last;
  size_t longest = 0, choices = 0;
  for (const Scored& scored : batch) {
    parts.push_back(std::span(scored.question->answers.front().ids).first(scored.shared));
    shared.push_back(static_cast<int64_t>(scored.shared));
    last.push_back((last.empty() ? -1 : last.back()) + shared.back());
    choices = std::max(choices, scored.question->answers.size());
    for (const Sample& sample : scored.question->answers)
      longest = std::max(longest, last_answer(sample));
  }
  KvCache cache =
      model.make_cache(static_cast<int64_t>(batch.size()), static_cast<int64_t>(longest));
  const Stream prompts = make_stream(parts, slots);
  const at::Tensor first =
      log_probabilities(model, model.forward(prompts, &cache), *prompts.rows, last);
  for (size_t c = 0; c < choices; ++c) {
    // A question without answer c reads its last one again, and nothing is made of that.
    const auto answer = [&](const Scored& s) -> const Sample& {
      return s.question->answers[std::min(c, s.question->answers.size() - 1)];
    };
    parts.clear();
    for (const Scored& s : batch)
      parts.push_back(
          std::span(answer(s).ids).subspan(s.shared, last_answer(answer(s)) - s.shared));
    const Stream stream = make_stream(parts, slots, shared);
    const at::Tensor hidden = model.forward(stream, &cache);
    std::vector<Wanted> wanted;
    for (size_t b = 0; b < batch.size(); ++b) {
      cache.truncate(static_cast<int64_t>(b), shared[b]);
      const Scored& s = batch[b];
      if (c >= s.question->answers.size()) continue;
      const Sample& sample = answer(s);
      for (size_t i = s.shared; i <= last_answer(sample); ++i) {
        if (!sample.answer[i]) continue;
        if (i == s.shared) {
          s.result->scores[c] += first[static_cast<int64_t>(b)][sample.ids[i]].item<double>();
        } else {
          wanted.push_back({stream.starts[b] + static_cast<int64_t>(i - s.shared) - 1,
                            sample.ids[i], &s.result->scores[c]});
        }
      }
    }
    add_scores(model, hidden, *stream.rows, wanted);
  }
}

// Whether keys and values of what the answers share hold for all of them.
bool shares(const Model& model, const Scored& scored) {
  const auto anew = [&](const Sample& sample) {
    return model.starts_anew(static_cast<int64_t>(scored.shared), std::ssize(sample.ids));
  };
  return scored.shared > 0 &&
         std::none_of(scored.question->answers.begin(), scored.question->answers.end(), anew);
}

}  // namespace

QuestionSet load_questions(const fs::path& file, std::vector<std::string> choices,
                           const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                           const DatasetOptions& options) {
  if (options.too_long == TooLong::truncate)
    throw Error(ErrorKind::usage, "cutting off the end of a question cuts off its answers",
                "too_long", "take skip");
  std::vector<Row> rows = read_rows(file);
  QuestionSet set{file.string(), std::move(choices), {}, 0};
  if (set.choices.empty()) set.choices = found_choices(rows, set.file);
  if (set.choices.size() < 2)
    throw Error(ErrorKind::data, str("one choice is none: ", join(set.choices)), set.file);
  for (Row& row : rows) {
    const auto right = std::find(set.choices.begin(), set.choices.end(), row.completion);
    if (right == set.choices.end())
      throw Error(ErrorKind::data, str("the completion '", row.completion, "' is no choice"),
                  row.where,
                  did_you_mean(row.completion, set.choices, str("choices: ", join(set.choices))));
    Question question;
    question.right = static_cast<size_t>(right - set.choices.begin());
    size_t longest = 0;
    for (const std::string& choice : set.choices) {
      row.row["completion"] = choice;
      question.answers.push_back(
          tokenize_row(row.row, row.where, tokenizer, chat_template, options));
      const auto& marks = question.answers.back().answer;
      if (std::find(marks.begin(), marks.end(), 1) == marks.end())
        throw Error(ErrorKind::data, str("the choice '", choice, "' has no token"), row.where);
      longest = std::max(longest, marks.size());
    }
    if (options.max_length && longest > static_cast<size_t>(options.max_length)) {
      if (options.too_long == TooLong::error)
        throw Error(
            ErrorKind::data,
            str("the question has ", longest, " tokens, and max_length is ", options.max_length),
            row.where, "raise max_length, or take too_long skip");
      ++set.skipped;
      continue;
    }
    set.questions.push_back(std::move(question));
  }
  if (set.questions.empty())
    throw Error(ErrorKind::data, "every question is too long", set.file, "raise max_length");
  return set;
}

size_t AnsweredQuestion::picked() const {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

double ChoicesResult::accuracy() const {
  const auto right = std::count_if(questions.begin(), questions.end(), [](const auto& question) {
    return question.picked() == question.right;
  });
  return static_cast<double>(right) / static_cast<double>(questions.size());
}

double ChoicesResult::accuracy_error() const {
  return std::sqrt(accuracy() * (1 - accuracy()) / (static_cast<double>(questions.size()) - 1));
}

double ChoicesResult::loss() const {
  double sum = 0;
  for (const AnsweredQuestion& question : questions) {
    const double best = question.scores[question.picked()];
    double total = 0;
    for (const double score : question.scores) total += std::exp(score - best);
    sum += best + std::log(total) - question.scores[question.right];
  }
  return sum / static_cast<double>(questions.size());
}

ChoicesResult evaluate_choices(const Model& model, std::span<const Question> questions,
                               const EvalOptions& options) {
  if (options.micro_tokens < 1)
    throw Error(ErrorKind::usage, str("micro_tokens is ", options.micro_tokens), "micro_tokens");
  torch::NoGradGuard no_grad;
  ChoicesResult result;
  result.questions.resize(questions.size());
  std::vector<Scored> order;
  int64_t total = 0, done = 0;
  for (size_t i = 0; i < questions.size(); ++i) {
    result.questions[i] = {std::vector<double>(questions[i].answers.size(), 0.0),
                           questions[i].right};
    order.push_back({&questions[i], &result.questions[i], shared_tokens(questions[i])});
    total += static_cast<int64_t>(order.back().shared);
  }
  // Questions of like length together, the longest first.
  std::stable_sort(order.begin(), order.end(),
                   [](const Scored& a, const Scored& b) { return a.shared > b.shared; });
  for (size_t at = 0; at < order.size();) {
    if (options.stop && options.stop())
      throw Error(ErrorKind::interrupted, str("stopped after ", done, " of ", total, " tokens"));
    const size_t begin = at;
    int64_t tokens = 0;
    do {
      tokens += static_cast<int64_t>(order[at++].shared);
    } while (at < order.size() && at - begin < kMostRows && shares(model, order[begin]) &&
             shares(model, order[at]) &&
             tokens + static_cast<int64_t>(order[at].shared) <= options.micro_tokens);
    if (shares(model, order[begin])) {
      score_together(model, options.slot, std::span(order).subspan(begin, at - begin));
    } else {
      score_alone(model, options.slot, order[begin]);
    }
    done += tokens;
    if (options.progress) options.progress(done, total);
  }
  return result;
}

}  // namespace smidgen
