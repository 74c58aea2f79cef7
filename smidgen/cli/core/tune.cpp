// `smidgen tune`: trains a method on data and leaves a run folder.
#include "smidgen/cli/core/tune.h"

#include <cmath>

#include <torch/version.h>

#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/sha256.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/model_config.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/kernels/target.h"
#include "smidgen/methods/merge.h"
#include "smidgen/nn/generate.h"
#include "smidgen/text/token_cache.h"
#include "smidgen/train/loop.h"
#include "smidgen/train/recorder.h"
#include "smidgen/train/showcase.h"

namespace smidgen {

namespace {

struct TuneConfig {
  ModelConfig model;
  TrainConfig train;
  std::string out;
  bool resume = false;
  bool allow_inexact_resume = false;
  bool dry_run = false;
  int64_t samples = 3;
  int64_t sample_tokens = 160;
};

template <class V>
void fields(V& v, TuneConfig& c) {
  fields(v, c.model);
  v("out", c.out, {.help = "Run folder to make", .required = true});
  v("resume", c.resume, {.help = "Go on from the last checkpoint of the run folder"});
  v("allow_inexact_resume", c.allow_inexact_resume,
    {.help = "Resume under another thread count, kernel target or version"});
  v("dry_run", c.dry_run, {.help = "Show the plan and stop"});
  v("samples", c.samples,
    {.help = "Held-out prompts answered before and after, for the report", .min = 0, .max = 100});
  v("sample_tokens", c.sample_tokens,
    {.help = "Longest of these answers", .min = 1, .unit = "tokens"});
  fields(v, c.train);
}

Dataset read_data(const std::vector<fs::path>& files, const DataConfig& c, DataForm form,
                  LoadedModel& loaded) {
  DatasetOptions options;
  options.form = form;
  options.cache = data_cache(c.data_cache);
  options.max_length = std::min(c.max_length, loaded.model->context());
  options.too_long = c.too_long == "skip"       ? TooLong::skip
                     : c.too_long == "truncate" ? TooLong::truncate
                                                : TooLong::error;
  options.chat_template = c.chat_template == "none" ? TemplateUse::none : TemplateUse::automatic;
  Dataset data =
      load_dataset(files, loaded.tokenizer(), loaded.chat_template(c.chat_template), options);
  if (data.truncated())
    log_note(counted(data.truncated(), "sample"), " cut to ", options.max_length, " tokens");
  if (data.skipped()) log_note(counted(data.skipped(), "sample"), " left out");
  return data;
}

// The values of the recipe that decide the result. Where the run lies, how often it saves or
// scores, and how it is shown may differ between a run and its continuation.
Json decisive(const Json& values) {
  Json kept = values;
  for (const char* key : {"out", "resume", "allow_inexact_resume", "dry_run", "samples",
                          "sample_tokens", "save_every", "save_total_limit", "eval_every",
                          "eval_data", "early_stop", "model", "data", "data_cache"}) {
    kept.erase(key);
  }
  return kept;
}

Json sidecar(const TuneConfig& c, LoadedModel& loaded, const Json& recipe) {
  const ChatTemplate* chat = loaded.chat_template(c.train.data.chat_template);
  Json stop = Json::array();
  for (const int32_t id : stop_tokens(loaded.files, loaded.tokenizer())) {
    stop.push_back({{"id", id}, {"token", loaded.tokenizer().token(id)}});
  }
  return {{"smidgen", SMIDGEN_VERSION},
          {"base_digest", loaded.files.digest()},
          {"base",
           {{"path", loaded.files.path.string()},
            {"kind", loaded.files.kind == ModelFiles::Kind::gguf ? "gguf" : "folder"},
            {"format", std::string(loaded.model->hosts().front()->weight().original().format())}}},
          {"arithmetic", std::string(to_string(loaded.model->arithmetic()))},
          {"method", c.train.method.name},
          {"recipe", recipe},
          {"chat_template", chat ? chat->source() : ""},
          {"stop_tokens", stop}};
}

void print_plan(const TuneConfig& c, LoadedModel& loaded, const Adapter& adapter,
                const Dataset& data, const Dataset* held_out, const OutputMode& output) {
  const int64_t steps = total_steps(c.train, data);
  Json plan = {{"model", c.model.choice.model},
               {"arithmetic", std::string(to_string(loaded.model->arithmetic()))},
               {"base_bytes", loaded.model->weight_bytes()},
               {"method", c.train.method.name},
               {"sites", adapter.plan().sites.size()},
               {"trainable", adapter.store().trainable_elements()},
               {"trainable_bytes", 16 * adapter.store().trainable_elements()},
               {"loss", c.train.loss.name},
               {"samples", data.units()},
               {"tokens", data.tokens()},
               {"answer_tokens", data.answer_tokens()},
               {"held_out_samples", held_out ? held_out->units() : 0},
               {"steps", steps},
               {"batch_tokens", c.train.batch_tokens},
               {"out", c.out}};
  if (output.json) {
    print_json(plan);
    return;
  }
  for (const auto& [key, value] : plan.items()) {
    std::string label = key;
    std::replace(label.begin(), label.end(), '_', ' ');
    console().print(str(label, std::string(20 - std::min<size_t>(19, label.size()), ' '),
                        value.is_string() ? value.get<std::string>() : value.dump(), "\n"));
  }
}

class Tuner {
 public:
  Tuner(const Invocation& call, const TuneHooks& hooks)
      : call_(call), hooks_(hooks), config_(read_config<TuneConfig>(call.recipe.values)) {}

  void run() {
    const DataConfig& named = config_.train.data;
    const auto files = data_files(named.data), held_out_files = data_files(named.eval_data);
    loaded_ = open(config_.model);
    if (config_.train.data.max_length > loaded_.model->context() &&
        call_.recipe.origin("max_length").kind != Origin::Kind::standard) {
      throw Error(ErrorKind::usage,
                  str("max_length is ", config_.train.data.max_length,
                      ", and the model's context holds ", loaded_.model->context(), " tokens"),
                  call_.recipe.where("max_length"));
    }
    if (!loaded_.mix.empty()) {
      throw Error(ErrorKind::unsupported, "tuning on top of another adapter is not possible yet",
                  "adapter", "export BASE+ADAPTER to a folder first, and tune that");
    }
    const TrainConfig& c = config_.train;
    const Loss& loss = losses().find(c.loss.name);
    objective_ = loss.start(c.loss.config, {*loaded_.model, loaded_.tokenizer()});
    data_ = read_data(files, c.data, loss.form(), loaded_);
    if (!held_out_files.empty())
      held_out_ = read_data(held_out_files, c.data, loss.form(), loaded_);
    adapter_ = Adapter::create(*loaded_.model, c.method.name, c.method.config,
                               static_cast<uint64_t>(c.seed));
    if (config_.dry_run) {
      print_plan(config_, loaded_, *adapter_, data_, held_out(), call_.output);
      return;
    }
    train();
  }

 private:
  const Dataset* held_out() const { return held_out_ ? &*held_out_ : nullptr; }

  RunIdentity identity() {
    Json recipe = decisive(call_.recipe.values);
    // A teacher counts by its content, as the base does, and not by where it lies.
    if (const Json held = objective_->identity(); !held.is_null()) recipe["loss"]["teacher"] = held;
    return {.recipe = std::move(recipe),
            .base = loaded_.files.digest(),
            .data = data_.digest(),
            .threads = call_.threads,
            .target = str(kernel_target(), " ", to_string(loaded_.model->arithmetic())),
            .versions = str("smidgen ", SMIDGEN_VERSION, ", libtorch ", TORCH_VERSION)};
  }

  // The adapter folder, or for full tuning the model folder with the trained weights in place.
  void save_artefact(const fs::path& folder) {
    // Without what only this process was told, so that a resumed run leaves the same folder.
    Json recipe = call_.recipe.values;
    for (const char* key : {"out", "resume", "allow_inexact_resume", "dry_run"}) recipe.erase(key);
    const Json card = sidecar(config_, loaded_, recipe);
    if (adapter_->method().capabilities().artefact == Artefact::adapter) {
      adapter_->save(folder, loaded_.files.path.string(), card, /*replace=*/true);
      return;
    }
    merge(*loaded_.model, *adapter_);
    write_hf_folder(*loaded_.model, loaded_.files, folder, {.replace = true, .sidecar = card});
    unmerge(*loaded_.model);
  }

  void train() {
    const bool is_adapter = adapter_->method().capabilities().artefact == Artefact::adapter;
    const RunFolder run = RunFolder::create(config_.out, config_.resume);
    const fs::path artefact = is_adapter ? run.adapter() : run.root() / "model";
    LoopSetup setup{.model = *loaded_.model,
                    .adapter = *adapter_,
                    .objective = *objective_,
                    .data = data_,
                    .eval_data = held_out(),
                    .config = config_.train,
                    .run = run,
                    .identity = identity(),
                    .allow_inexact_resume = config_.allow_inexact_resume,
                    .save_artefact = [&](const fs::path& folder) { save_artefact(folder); }};
    RunRecorder recorder(run, config_.resume);
    std::unique_ptr<Progress> progress;
    int64_t total = 0;
    setup.events.gradients = [&](int64_t step) {
      if (step <= 2) recorder.gradients(adapter_->store());
    };
    setup.events.step = [&](const StepRecord& r) {
      std::vector<ProgressField> shown = {
          {"loss", r.loss, fixed("loss ", r.loss, 3)},
          {"tokens_per_s", r.tokens_per_s, count_text(r.tokens_per_s) + " tok/s"},
          {"peak_mb", r.peak_mb, bytes_text(static_cast<int64_t>(r.peak_mb * (1 << 20)))},
          {"lr", r.learning_rate, str("lr ", r.learning_rate)}};
      if (r.eval_loss)
        shown.push_back({"eval_loss", *r.eval_loss, fixed("held-out ", *r.eval_loss, 3)});
      if (const auto margin = r.metrics.find("rewards/margins"); margin != r.metrics.end())
        shown.push_back({"margin", margin->second, fixed("margin ", margin->second, 3)});
      progress->update(r.step, std::move(shown));
      if (hooks_.step) hooks_.step(r, total);
    };
    setup.events.stop = hooks_.stop;
    Loop loop(std::move(setup));
    total = loop.total();
    const bool resumed = config_.resume && loop.resume();
    if (!resumed) {
      write_file(run.recipe(), call_.yaml);
      recorder.recipe(call_.recipe);
      recorder.environment();
      Loader peek(data_.unit_lengths(), loader_config(config_.train));
      recorder.first_batch(data_, peek.next().micro.front(), loaded_.tokenizer());
      describe_run(recorder.report(), loop.total());
    } else {
      log_line("resuming at step ", loop.done(), " of ", loop.total());
    }
    Showcase showcase(*loaded_.model, *objective_, loaded_.tokenizer(),
                      stop_tokens(loaded_.files, loaded_.tokenizer()), held_out(),
                      {.prompts = config_.samples,
                       .max_new_tokens = config_.sample_tokens,
                       .seed = static_cast<uint64_t>(config_.train.seed)});
    if (recorder.report().samples.empty()) showcase.before(recorder.report());
    recorder.write();
    if (held_out())
      log_line("held-out loss before ", fixed("", recorder.report().held_out->before, 4));

    progress = std::make_unique<Progress>("tune", loop.total(), loop.done());
    const LoopResult result = loop.run();
    progress->finish();
    save_artefact(artefact);
    showcase.after(recorder.report(), /*slot=*/1);
    recorder.write();
    report(recorder.report(), result, run, artefact);
  }

  static std::string fixed(const std::string& label, double value, int digits) {
    std::ostringstream out;
    out << label << std::fixed << std::setprecision(digits) << value;
    return out.str();
  }

  void describe_run(RunReport& report, int64_t steps) {
    report.title = str(config_.train.method.name, " on ", loaded_.files.path.filename().string());
    report.summary = {{"model", loaded_.files.path.string()},
                      {"base digest", loaded_.files.digest()},
                      {"arithmetic", std::string(to_string(loaded_.model->arithmetic()))},
                      {"method", config_.train.method.name},
                      {"trainable parameters", adapter_->store().trainable_elements()},
                      {"loss", config_.train.loss.name},
                      {"training samples", data_.units()},
                      {"training tokens", data_.tokens()},
                      {"steps", steps},
                      {"seed", config_.train.seed}};
  }

  void report(const RunReport& r, const LoopResult& result, const RunFolder& run,
              const fs::path& artefact) {
    Json summary = {{"steps", result.steps},
                    {"artefact", artefact.string()},
                    {"report", run.report().string()},
                    {"resumed", result.resumed},
                    {"stopped_early", result.stopped_early}};
    if (r.held_out) {
      summary["held_out"] = {{"loss_before", r.held_out->before},
                             {"loss_after", r.held_out->after},
                             {"tokens", r.held_out->tokens},
                             {"samples", r.held_out->samples}};
      if (r.held_out->per_token) {
        summary["held_out"]["perplexity_before"] = std::exp(r.held_out->before);
        summary["held_out"]["perplexity_after"] = std::exp(r.held_out->after);
      }
      for (const auto& [name, value] : r.held_out->metrics_before)
        summary["held_out"][name + "_before"] = value;
      for (const auto& [name, value] : r.held_out->metrics_after)
        summary["held_out"][name + "_after"] = value;
      if (r.held_out->interval_low)
        summary["held_out"]["difference_95"] = {*r.held_out->interval_low,
                                                *r.held_out->interval_high};
    }
    if (result.best) summary["best"] = {{"step", result.best->step}, {"loss", result.best->loss}};
    if (hooks_.result) hooks_.result(summary);
    if (call_.output.json) {
      print_json(summary);
      return;
    }
    if (call_.output.quiet) return;
    std::ostringstream out;
    for (const SampleRow& s : r.samples) {
      out << "\n--- prompt\n"
          << s.prompt << "\n--- before\n"
          << s.before << "\n--- after\n"
          << s.after << "\n";
    }
    if (r.held_out) {
      const bool per_token = r.held_out->per_token;
      const auto line = [&](const char* name, double loss) {
        out << name << fixed("", loss, 4);
        if (per_token) out << fixed("    ", std::exp(loss), 3);
        out << "\n";
      };
      out << "\nheld-out     loss" << (per_token ? "    perplexity" : "") << "\n";
      line("  before ", r.held_out->before);
      line("  after  ", r.held_out->after);
      for (const auto& [name, after] : r.held_out->metrics_after) {
        const auto before = r.held_out->metrics_before.find(name);
        if (before != r.held_out->metrics_before.end())
          out << fixed("  " + name + " ", before->second, 4) << fixed(" -> ", after, 4) << "\n";
      }
      if (r.held_out->interval_low) {
        out << "  per-sample difference, 95% interval [" << fixed("", *r.held_out->interval_low, 4)
            << ", " << fixed("", *r.held_out->interval_high, 4) << "]\n";
      }
    }
    out << "\n"
        << (result.stopped_early ? "stopped early after " : "done: ") << result.steps
        << " steps\n  " << artefact.string() << "\n  " << run.report().string() << "\n";
    console().print(out.str());
  }

  const Invocation& call_;
  const TuneHooks& hooks_;
  TuneConfig config_;
  LoadedModel loaded_;
  std::unique_ptr<Objective> objective_;
  Dataset data_;
  std::optional<Dataset> held_out_;
  std::unique_ptr<Adapter> adapter_;
};

void run_tune(const Invocation& call) {
  run_tune(call, {});
}

}  // namespace

void run_tune(const Invocation& call, const TuneHooks& hooks) {
  Tuner(call, hooks).run();
}

Json tune_fields() {
  return describe<TuneConfig>();
}

CoreVerb tune_verb() {
  return {
      .name = "tune",
      .summary = "Train a method on data; leaves a run folder with adapter, metrics and report",
      .examples = Json::array(
          {Json::array({"smidgen tune --model model.gguf --data train.jsonl --out run",
                        "LoRA on every linear layer"}),
           Json::array(
               {"smidgen tune recipe.yaml --rank 16 --out run", "a recipe, one value changed"}),
           Json::array({"smidgen tune run/recipe.yaml --resume", "go on after an interruption"})}),
      .describe = tune_fields,
      .run = run_tune,
      .positional = ""};
}

}  // namespace smidgen
