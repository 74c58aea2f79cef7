// smidgen eval: loss and perplexity per answer token.
#include <iomanip>

#include "smidgen/base/console.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/eval/evaluate.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/text/token_cache.h"

namespace smidgen {

namespace {

struct EvalConfig {
  ModelConfig model;
  std::vector<std::string> data;
  int64_t max_length = 0;
  std::string too_long = "error";
  std::string chat_template = "auto";
  std::string data_cache = "auto";
  int64_t micro_tokens = 2048;
  std::optional<fs::path> per_sample;
};

template <class V>
void fields(V& v, EvalConfig& c) {
  fields(v, c.model);
  v("data", c.data,
    {.help = "Files, folders or patterns: .jsonl or .json rows with messages, prompt/completion or "
             "text, or plain text",
     .required = true});
  v("max_length", c.max_length,
    {.help = "Longest sample; 0 is the model's context", .min = 0, .unit = "tokens"});
  v.choice("too_long", c.too_long, {"error", "skip", "truncate"},
           {.help = "What to do with a longer one"});
  v("chat_template", c.chat_template,
    {.help =
         "auto: the model's chat template where it has one; none; or the name of one of several"});
  v("data_cache", c.data_cache,
    {.help = "Folder that keeps the tokens of data files; auto: the user's cache folder, for files "
             "of 16 MiB and more; none: memory"});
  v("micro_tokens", c.micro_tokens,
    {.help = "Most tokens of one forward pass", .min = 1, .unit = "tokens"});
  v("per_sample", c.per_sample, {.help = "Write one JSON line a sample: where, loss_sum, tokens"});
}

DatasetOptions dataset_options(const EvalConfig& c, const Model& model) {
  DatasetOptions options;
  if (c.max_length > model.context()) {
    throw Error(ErrorKind::usage,
                str("max_length is ", c.max_length, ", and the model's context holds ",
                    model.context(), " tokens"),
                "max_length");
  }
  options.max_length = c.max_length == 0 ? model.context() : c.max_length;
  options.too_long = c.too_long == "skip"       ? TooLong::skip
                     : c.too_long == "truncate" ? TooLong::truncate
                                                : TooLong::error;
  options.chat_template = c.chat_template == "none" ? TemplateUse::none : TemplateUse::automatic;
  options.cache = data_cache(c.data_cache);
  return options;
}

void write_samples(const fs::path& path, const Dataset& data, const EvalResult& result) {
  std::string text;
  for (size_t i = 0; i < result.per_sample.size(); ++i) {
    const SampleLoss& sample = result.per_sample[i];
    const Json row = {{"where", data.where(static_cast<int64_t>(i))},
                      {"loss_sum", sample.loss_sum},
                      {"tokens", sample.tokens}};
    text += row.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  write_file(path, text);
}

void run_eval(const Invocation& invocation) {
  const auto config = read_config<EvalConfig>(invocation.recipe.values);
  const std::vector<fs::path> files =
      data_files(config.data);  // before the time of loading is spent
  LoadedModel loaded = open(config.model);
  const Dataset data =
      load_dataset(files, loaded.tokenizer(), loaded.chat_template(config.chat_template),
                   dataset_options(config, *loaded.model));
  EvalOptions options{.slot = loaded.slot,
                      .micro_tokens = config.micro_tokens,
                      .per_sample = config.per_sample.has_value()};
  options.stop = [] { return stop_requested() != 0; };
  // With --json the result is all that goes to stdout.
  std::optional<Progress> progress;
  if (!invocation.output.json) progress.emplace("eval", data.tokens());
  options.progress = [&](int64_t done, int64_t) {
    if (progress) progress->update(done);
  };
  const EvalResult result = evaluate(*loaded.model, data, options);
  progress.reset();
  if (config.per_sample) write_samples(*config.per_sample, data, result);
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
                                    "the same with an adapter, for a script"})}),
          [] { return describe<EvalConfig>(); },
          run_eval,
          ""};
}

}  // namespace smidgen
