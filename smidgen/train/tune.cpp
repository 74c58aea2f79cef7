#include "smidgen/train/tune.h"

#include <iomanip>

#include <torch/version.h>

#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/version.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/kernels/target.h"
#include "smidgen/methods/merge.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/text/token_cache.h"
#include "smidgen/train/recorder.h"
#include "smidgen/train/showcase.h"
#include "smidgen/train/tune_account.h"

namespace smidgen {

namespace {

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

class Tuner {
 public:
  Tuner(const TuneCall& call, const TuneHooks& hooks)
      : call_(call), hooks_(hooks), config_(read_config<TuneConfig>(call.recipe.values)) {}

  TuneOutcome run() {
    const DataConfig& named = config_.train.data;
    const auto files = data_files(named.data), held_out_files = data_files(named.eval_data);
    loaded_ = open(config_.model);
    loaded_.model->set_memory(config_.train.memory);
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
    if (config_.dry_run)
      return {.plan = tune_plan(config_, loaded_, *adapter_, data_, held_out()),
              .summary = {},
              .report = {}};
    return train();
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
            .versions = str("smidgen ", version(), ", libtorch ", TORCH_VERSION)};
  }

  // The adapter folder, or for full tuning the model folder with the trained weights in place.
  void save_artefact(const fs::path& folder) {
    // Without what only this process was told, so that a resumed run leaves the same folder.
    Json recipe = call_.recipe.values;
    for (const char* key : {"out", "resume", "allow_inexact_resume", "dry_run"}) recipe.erase(key);
    const Json card = tune_sidecar(config_, loaded_, recipe);
    if (adapter_->method().capabilities().artefact == Artefact::adapter) {
      adapter_->save(folder, loaded_.files.path.string(), card, /*replace=*/true);
      return;
    }
    merge(*loaded_.model, *adapter_);
    write_hf_folder(*loaded_.model, loaded_.files, folder, {.replace = true, .sidecar = card});
    unmerge(*loaded_.model);
  }

  TuneOutcome train() {
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
      recorder.report().title =
          str(config_.train.method.name, " on ", loaded_.files.path.filename().string());
      recorder.report().summary = tune_facts(config_, loaded_, *adapter_, data_, loop.total());
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
    return {.plan = {},
            .summary = tune_summary(recorder.report(), result, run, artefact),
            .report = recorder.report()};
  }

  static std::string fixed(const std::string& label, double value, int digits) {
    std::ostringstream out;
    out << label << std::fixed << std::setprecision(digits) << value;
    return out.str();
  }

  const TuneCall& call_;
  const TuneHooks& hooks_;
  TuneConfig config_;
  LoadedModel loaded_;
  std::unique_ptr<Objective> objective_;
  Dataset data_;
  std::optional<Dataset> held_out_;
  std::unique_ptr<Adapter> adapter_;
};

}  // namespace

TuneOutcome tune(const TuneCall& call, const TuneHooks& hooks) {
  return Tuner(call, hooks).run();
}

Json tune_fields() {
  return describe<TuneConfig>();
}

}  // namespace smidgen
