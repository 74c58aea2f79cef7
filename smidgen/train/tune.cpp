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
#include "smidgen/train/plan.h"
#include "smidgen/train/recorder.h"
#include "smidgen/train/showcase.h"
#include "smidgen/train/step_probe.h"
#include "smidgen/train/tune_account.h"

namespace smidgen {

namespace {

Dataset read_data(const std::vector<fs::path>& files, const DataConfig& c, DataForm form,
                  LoadedModel& loaded) {
  DatasetOptions options = dataset_options(c, std::min(c.max_length, loaded.model->context()));
  options.form = form;
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
    const TrainConfig& c = config_.train;
    prepare();
    const StepShape shape = step_shape(c, data_);
    const int64_t idle = idle_memory(loaded().model->arithmetic());
    if (config_.dry_run) return {.plan = plan(shape, idle), .summary = {}, .report = {}};
    if (!config_.allow_low_memory) check_memory(memory_report(config_, *planned_, shape, idle));
    loaded_ = std::move(planned_->loaded());
    planned_.reset();
    load_weights(loaded_, {.dtype = config_.model.dtype, .base_format = config_.model.base_format});
    loaded_.model->set_memory(config_.train.memory);
    start_objective(loaded_);
    adapter_ = Adapter::create(*loaded_.model, c.method.name, c.method.config,
                               static_cast<uint64_t>(c.seed));
    return train();
  }

  Json plan(const PlanCall& call) {
    if (call.tokens.empty()) {
      prepare();
    } else {
      open_planned();
    }
    const StepShape shape =
        call.tokens.empty() ? step_shape(config_.train, data_) : step_shape(call.tokens);
    const int64_t idle = idle_memory(loaded().model->arithmetic());
    Json result = plan(shape, idle);
    if (call.fit) result["fit"] = what_fits(config_, *call.fit, idle);
    if (!call.timing) return result;
    const auto time = probe_step(config_, *planned_, shape);
    if (!time) return result;
    result["step_s"] = time->step(shape);
    result["tokens_per_s"] = shape.tokens / time->step(shape);
    result["timing_cached"] = time->cached;
    if (result.contains("steps"))
      result["run_s"] = time->step(shape) * result["steps"].get<double>();
    return result;
  }

 private:
  LoadedModel& loaded() { return planned_ ? planned_->loaded() : loaded_; }

  Json plan(const StepShape& shape, int64_t idle) {
    const bool with_data = data_.units() > 0;
    Json result = tune_plan(config_, *planned_, with_data ? &data_ : nullptr, held_out());
    result.update(memory_report(config_, *planned_, shape, idle));
    return result;
  }

  void open_planned() {
    planned_ = std::make_unique<PlannedRun>(config_.model, config_.train);
    LoadedModel& model = loaded();
    if (config_.train.data.max_length > model.model->context() &&
        call_.recipe.origin("max_length").kind != Origin::Kind::standard) {
      throw Error(ErrorKind::usage,
                  str("max_length is ", config_.train.data.max_length,
                      ", and the model's context holds ", model.model->context(), " tokens"),
                  call_.recipe.where("max_length"));
    }
    if (!model.mix.empty()) {
      throw Error(ErrorKind::unsupported, "tuning on top of another adapter is not possible yet",
                  "adapter", "export BASE+ADAPTER to a folder first, and tune that");
    }
  }

  // Everything that can be found wrong before the weights are read.
  void prepare() {
    const DataConfig& c = config_.train.data;
    const auto files = data_files(c.data), held_out_files = data_files(c.eval_data);
    open_planned();
    // A loss that holds a model of its own waits until the plan is known to fit.
    if (planned_->held_by_loss() == 0) start_objective(loaded());
    const DataForm form = losses().find(config_.train.loss.name).form();
    data_ = read_data(files, c, form, loaded());
    if (!held_out_files.empty()) held_out_ = read_data(held_out_files, c, form, loaded());
  }

  void start_objective(LoadedModel& model) {
    const OneOf& loss = config_.train.loss;
    if (!objective_)
      objective_ = losses().find(loss.name).start(loss.config, {*model.model, model.tokenizer()});
  }

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
    for (const char* key : {"out", "resume", "allow_inexact_resume", "allow_low_memory", "dry_run"})
      recipe.erase(key);
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
      const std::vector<int64_t> units = peek.next().micro.front();
      recorder.first_batch(data_, units, loaded_.tokenizer());
      recorder.report().title =
          str(config_.train.method.name, " on ", loaded_.files.path.filename().string());
      recorder.report().summary = tune_facts(config_, loaded_, *adapter_, data_, loop.total());
      loop.note(recorder.start(*loaded_.model, data_, units.front(), /*slot=*/1));
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
  TuneHooks hooks_;
  TuneConfig config_;
  std::unique_ptr<PlannedRun> planned_;  // until the weights are read
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

Json plan_tuning(const TuneCall& call, const PlanCall& plan) {
  return Tuner(call, {}).plan(plan);
}

Json tune_fields() {
  return describe<TuneConfig>();
}

}  // namespace smidgen
