// smidgen eval: loss and perplexity per answer token, or which of a few answers is the likeliest.
#include <algorithm>
#include <iomanip>
#include <iterator>

#include "smidgen/base/console.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/data_choice.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/eval/choices.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

struct EvalConfig {
  ModelConfig model;
  DataChoice data;
  std::optional<fs::path> per_sample;
  std::vector<std::string> choices;
};

template <class V>
void fields(V& v, EvalConfig& c) {
  fields(v, c.model);
  fields(v, c.data);
  v("per_sample", c.per_sample,
    {.help = "Write one JSON line a sample: where, loss_sum, tokens; of questions right, picked, "
             "scores"});
  v("choices", c.choices,
    {.help = "Score by the likeliest of these answers, one of which each completion is; auto: the "
             "completions of each file"});
}

void write_lines(const fs::path& path, const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows)
    text += row.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  write_file(path, text);
}

std::vector<Json> sample_lines(const Dataset& data, const EvalResult& result) {
  std::vector<Json> rows;
  for (size_t i = 0; i < result.per_sample.size(); ++i) {
    const SampleLoss& sample = result.per_sample[i];
    rows.push_back({{"where", data.where(static_cast<int64_t>(i))},
                    {"loss_sum", sample.loss_sum},
                    {"tokens", sample.tokens}});
  }
  return rows;
}

Json figures(const ChoicesResult& result, int64_t skipped) {
  return {{"accuracy", result.accuracy()},
          {"accuracy_error", result.accuracy_error()},
          {"loss", result.loss()},
          {"questions", result.questions.size()},
          {"skipped", skipped}};
}

std::string line(const ChoicesResult& result, const std::string& of) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(4) << "accuracy " << result.accuracy() << " +- "
       << result.accuracy_error() << ", loss " << result.loss() << " over "
       << counted(result.questions.size(), "question") << of << "\n";
  return text.str();
}

void run_choices(const EvalConfig& config, const std::vector<fs::path>& files, LoadedModel& loaded,
                 EvalOptions options, const OutputMode& output) {
  const bool found = config.choices == std::vector<std::string>{"auto"};
  const DatasetOptions reading = dataset_options(config.data, *loaded.model);
  ChoicesResult all;
  int64_t skipped = 0;
  Json rows = Json::array();
  std::string text;
  std::vector<Json> lines;
  for (const fs::path& file : files) {
    const QuestionSet set = load_questions(
        file, found ? std::vector<std::string>{} : config.choices, loaded.tokenizer(),
        loaded.chat_template(config.data.chat_template), reading);
    std::optional<Progress> progress;
    options.progress = [&](int64_t done, int64_t total) {
      if (output.json) return;
      if (!progress) progress.emplace("eval", total);
      progress->update(done);
    };
    ChoicesResult result = evaluate_choices(*loaded.model, set.questions, options);
    progress.reset();
    rows.push_back({{"file", set.file}, {"choices", set.choices}});
    rows.back().update(figures(result, set.skipped));
    text += line(result, str(" of ", counted(set.choices.size(), "choice"), " (", set.file, ")"));
    for (size_t i = 0; i < result.questions.size(); ++i) {
      const AnsweredQuestion& answered = result.questions[i];
      lines.push_back({{"where", set.questions[i].answers.front().where},
                       {"right", set.choices[answered.right]},
                       {"picked", set.choices[answered.picked()]},
                       {"scores", answered.scores}});
    }
    skipped += set.skipped;
    std::move(result.questions.begin(), result.questions.end(), std::back_inserter(all.questions));
  }
  if (config.per_sample) write_lines(*config.per_sample, lines);
  if (output.json) {
    Json sum = figures(all, skipped);
    sum["files"] = std::move(rows);
    return print_json(sum);
  }
  if (files.size() > 1) text += line(all, str(" of ", counted(files.size(), "file")));
  console().print(text);
}

void run_eval(const Invocation& invocation) {
  const auto config = read_config<EvalConfig>(invocation.recipe.values);
  const std::vector<fs::path> files =
      data_files(config.data.files);  // before the time of loading is spent
  LoadedModel loaded = open(config.model);
  EvalOptions options{.slot = loaded.slot,
                      .micro_tokens = config.data.micro_tokens,
                      .per_sample = config.per_sample.has_value()};
  options.stop = [] { return stop_requested() != 0; };
  if (!config.choices.empty())
    return run_choices(config, files, loaded, options, invocation.output);
  const Dataset data =
      load_dataset(files, loaded.tokenizer(), loaded.chat_template(config.data.chat_template),
                   dataset_options(config.data, *loaded.model));
  // With --json the result is all that goes to stdout.
  std::optional<Progress> progress;
  if (!invocation.output.json) progress.emplace("eval", data.tokens());
  options.progress = [&](int64_t done, int64_t) {
    if (progress) progress->update(done);
  };
  const EvalResult result = evaluate(*loaded.model, data, options);
  progress.reset();
  if (config.per_sample) write_lines(*config.per_sample, sample_lines(data, result));
  if (invocation.output.json) {
    print_json({{"loss", result.loss()},
                {"perplexity", result.perplexity()},
                {"tokens", result.tokens},
                {"samples", result.samples},
                {"truncated", data.truncated()},
                {"skipped", data.skipped()}});
    return;
  }
  std::ostringstream text;
  text << std::fixed << std::setprecision(4) << "loss " << result.loss() << ", perplexity "
       << result.perplexity() << " over " << counted(result.tokens, "answer token") << " of "
       << counted(result.samples, "sample") << "\n";
  console().print(text.str());
}

}  // namespace

CoreVerb eval_verb() {
  return {"eval",
          "Score a model on data",
          Json::array({Json::array({"smidgen eval --model model.gguf --data held_out.jsonl",
                                    "loss and perplexity of the base"}),
                       Json::array({"smidgen eval --model model.gguf --adapter run/adapter --data "
                                    "held_out.jsonl --json",
                                    "the same with an adapter, for a script"}),
                       Json::array({"smidgen eval --model model.gguf --data topics.jsonl --choices "
                                    "auto",
                                    "how often the right answer is the likeliest"})}),
          [] { return describe<EvalConfig>(); },
          run_eval,
          ""};
}

}  // namespace smidgen
