#include "smidgen/train/loop.h"

#include <chrono>
#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/memory.h"
#include "smidgen/base/signals.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/json_member.h"
#include "smidgen/nn/nan_trace.h"
#include "smidgen/train/optimizer.h"
#include "smidgen/train/schedule.h"

namespace smidgen {

LoaderConfig loader_config(const TrainConfig& config) {
  return {.batch_tokens = config.batch_tokens,
          .micro_tokens = config.micro_tokens,
          .seed = static_cast<uint64_t>(config.seed),
          .shuffle = config.data.shuffle};
}

int64_t total_steps(const TrainConfig& config, const Dataset& data) {
  if (config.max_steps) return *config.max_steps;
  // Steps differ in their number of samples, so the epochs are walked through rather than divided.
  Loader walk(data.unit_lengths(), loader_config(config));
  int64_t steps = 0;
  while (walk.epochs_done() < config.epochs) {
    walk.next();
    ++steps;
  }
  return steps;
}

Loop::Loop(LoopSetup setup)
    : s_(std::move(setup)),
      total_(total_steps(s_.config, s_.data)),
      lengths_(s_.data.unit_lengths()),
      loader_(lengths_, loader_config(s_.config)),
      watchdog_(s_.config.watchdog),
      checkpoints_(s_.run.checkpoints()) {
  if (!s_.config.policy.name.empty())
    policy_ = budgets().find(s_.config.policy.name).start(s_.config.policy.config);
  s_.adapter.attach(s_.model, s_.slot);
}

Loop::~Loop() {
  Adapter::detach(s_.model, s_.slot);
}

LoopView Loop::view() const {
  return {s_.adapter, state_.step + 1, total_, static_cast<uint64_t>(s_.config.seed)};
}

bool Loop::resume() {
  const auto latest = checkpoints_.latest();
  if (!latest) return false;
  const Json state = latest->state();
  const std::string where = (latest->path / "state.json").string();
  s_.identity.check(member(state, "identity", where), s_.allow_inexact_resume);
  state_ = RunState::from_json(state, read_json(latest->path / "structure.json"), latest->path);
  Adapter::detach(s_.model, s_.slot);
  state_.edits.replay(s_.adapter.store());
  read_trainables(latest->path, s_.adapter.store());
  s_.adapter.attach(s_.model, s_.slot);
  if (s_.adapter.store().digest() != text_member(state, "digest", where)) {
    throw Error(ErrorKind::format,
                "the checkpoint's parameters do not have the digest that was saved with them",
                latest->path.string());
  }
  loader_.restore(state_.loader);
  watchdog_.restore(state_.watchdog);
  if (policy_) policy_->restore(state_.policy);
  saved_step_ = state_.step;
  return true;
}

void Loop::open_logs() {
  metrics_ = std::make_unique<MetricsLog>(s_.run.metrics(), state_.metrics_offset);
  if (state_.events_file.empty()) {
    remove_tree(s_.run.events());  // of a run that never came to its first checkpoint
    events_.emplace(EventWriter::create(s_.run.events()));
    state_.events_file = events_->path().filename().string();
  } else {
    events_.emplace(
        EventWriter::resume(s_.run.events() / state_.events_file, state_.events_offset));
  }
}

void Loop::apply_edits(std::vector<Edit> edits) {
  if (edits.empty()) return;
  bool moved = false;
  for (const Edit& edit : edits) {
    apply(s_.adapter.store(), edit);
    moved |= edit.moves_storage();
  }
  state_.edits.record(state_.step + 1, edits);
  if (moved) {
    Adapter::detach(s_.model, s_.slot);
    s_.adapter.attach(s_.model, s_.slot);
  }
}

std::string Loop::describe(const Step& step) const {
  std::vector<std::string> where;
  for (const auto& micro : step.micro) {
    for (const int64_t u : micro)
      where.push_back(s_.data.where(s_.data.form() == DataForm::pairs ? 2 * u : u));
  }
  return str("batch of ", counted(where.size(), "sample"), ": ", join(where, ", ", 8));
}

double Loop::accumulate(const Step& step, Tally& tally) {
  const LossScene scene{s_.model, s_.data, s_.slot};
  s_.objective.begin(scene, step.micro);
  double loss = 0;
  int64_t rows = 0;
  std::optional<NanTrace> trace;
  if (s_.config.debug_nan) trace.emplace(str("step ", state_.step + 1));
  for (const auto& micro : step.micro) {
    const DropoutScope dropping(s_.adapter.dropout(), static_cast<uint64_t>(s_.config.seed),
                                static_cast<uint64_t>(state_.step), rows);
    for (const int64_t unit : micro) rows += lengths_[static_cast<size_t>(unit)];
    const at::Tensor sum = traced(s_.objective.sum(scene, micro, tally), {}, "the loss");
    loss += sum.item<double>();
    if (sum.requires_grad()) sum.backward();
    for (const auto& p : s_.adapter.store().parameters()) {
      if (trace) traced(p->gradient(), {}, str("the gradient of ", p->spec().path()));
    }
  }
  return loss;
}

StepRecord Loop::train_step() {
  const auto begin = std::chrono::steady_clock::now();
  ParamStore& store = s_.adapter.store();
  if (policy_) apply_edits(policy_->before_step(view()));
  const Step step = loader_.next();
  store.zero_grad();
  StepRecord record;
  record.step = state_.step + 1;
  record.tokens = step.tokens;
  Tally tally;
  const double sum = accumulate(step, tally);
  const double divisor = s_.objective.divisor(tally);
  record.loss = sum / divisor;
  record.answers = tally.answers;
  record.metrics = tally.means();
  record.metrics.merge(std::exchange(noted_, {}));
  store.scale_grad(1.0 / divisor);
  if (policy_) apply_edits(policy_->after_backward(view()));
  if (s_.events.gradients) s_.events.gradients(record.step);
  record.grad_norm = clip_gradients(store, s_.config.optimizer.max_grad_norm);
  watchdog_.check(record.step, record.loss, record.grad_norm, describe(step));
  record.learning_rate =
      s_.config.optimizer.learning_rate * schedule_ratio(s_.config.schedule, record.step, total_);
  optimizer_step(store, s_.config.optimizer, record.learning_rate);
  if (policy_) apply_edits(policy_->after_step(view()));
  state_.step = record.step;
  state_.tokens += step.tokens;
  state_.loader = loader_.state();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  record.tokens_per_s = static_cast<double>(step.tokens) / std::max(seconds, 1e-9);
  record.peak_mb = static_cast<double>(peak_rss()) / (1 << 20);
  return record;
}

EvalResult Loop::evaluate_now() {
  EvalOptions options;
  options.micro_tokens = s_.config.micro_tokens ? s_.config.micro_tokens : s_.config.batch_tokens;
  return s_.objective.evaluate({s_.model, *s_.eval_data, s_.slot}, options);
}

void Loop::note_eval(double loss) {
  if (!state_.best || loss < state_.best->loss) {
    state_.best = Best{loss, state_.step};
    state_.stale = 0;
    if (s_.save_artefact) s_.save_artefact(s_.run.root() / "best");
  } else {
    ++state_.stale;
  }
}

void Loop::log(const StepRecord& r, bool digest) {
  Json line = {{"step", r.step},
               {"loss", r.loss},
               {"tokens", r.tokens},
               {"answers", r.answers},
               {"lr", r.learning_rate},
               {"grad_norm", r.grad_norm},
               {"tokens_per_s", std::round(r.tokens_per_s * 10) / 10},
               {"peak_mb", std::round(r.peak_mb * 10) / 10}};
  for (const auto& [name, value] : r.metrics) line[name] = value;
  if (r.eval_loss) line["eval_loss"] = *r.eval_loss;
  for (const auto& [name, value] : r.eval_metrics) line["eval_" + name] = value;
  if (digest) line["digest"] = s_.adapter.store().digest();
  metrics_->append(line);
  events_->scalar("loss/train", static_cast<float>(r.loss), r.step);
  events_->scalar("learning_rate", static_cast<float>(r.learning_rate), r.step);
  events_->scalar("grad_norm", static_cast<float>(r.grad_norm), r.step);
  events_->scalar("tokens_per_s", static_cast<float>(r.tokens_per_s), r.step);
  for (const auto& [name, value] : r.metrics)
    events_->scalar(name, static_cast<float>(value), r.step);
  if (r.eval_loss) events_->scalar("loss/eval", static_cast<float>(*r.eval_loss), r.step);
  for (const auto& [name, value] : r.eval_metrics)
    events_->scalar("eval_" + name, static_cast<float>(value), r.step);
}

void Loop::save() {
  state_.metrics_offset = metrics_->sync();
  state_.events_offset = events_->offset();
  state_.watchdog = watchdog_.state();
  state_.policy = policy_ ? policy_->state() : Json();
  Json state = state_.to_json();
  state["digest"] = s_.adapter.store().digest();
  state["identity"] = s_.identity.to_json();
  Retention retention{.total_limit = s_.config.save_total_limit};
  if (state_.best) retention.best = state_.best->step;
  const Checkpoint made = checkpoints_.save(
      state_.step, state,
      [&](const fs::path& folder) { write_trainables(folder, s_.adapter.store(), state_.edits); },
      retention);
  saved_step_ = state_.step;
  if (s_.events.saved) s_.events.saved(state_.step, made.path);
}

LoopResult Loop::run() {
  open_logs();
  LoopResult result;
  result.resumed = state_.step > 0;
  if (!result.resumed && policy_) apply_edits(policy_->on_attach(view()));
  const auto every = [&](int64_t n) { return n > 0 && state_.step % n == 0; };
  const int64_t patience = s_.config.early_stop;
  bool stop = patience > 0 && state_.stale >= patience;
  while (state_.step < total_ && !stop) {
    StepRecord record = train_step();
    if (s_.eval_data && (every(s_.config.eval_every) || state_.step == total_)) {
      const EvalResult result_now = evaluate_now();
      record.eval_loss = result_now.loss();
      record.eval_metrics = result_now.metrics;
      note_eval(*record.eval_loss);
      stop = patience > 0 && state_.stale >= patience;
    }
    const bool last = state_.step == total_ || stop;
    const bool due = every(s_.config.save_every) || last;
    // Asked once: a signal that arrives later waits for the next boundary. The line of this step
    // must not show that somebody interrupted, or a resumed run's log would differ from an
    // uninterrupted one's.
    bool interrupted = stop_requested() != 0 && !last;
    const bool by_signal = interrupted;
    log(record, due);
    if (s_.events.step) s_.events.step(record);
    interrupted |= !last && s_.events.stop && s_.events.stop();
    if (due || interrupted) save();
    if (interrupted) {
      throw Error(
          ErrorKind::interrupted,
          str("stopped by ", by_signal ? "a signal" : "the program", " after step ", state_.step),
          s_.run.root().string(), "everything is saved; the same call with --resume goes on");
    }
  }
  if (saved_step_ != state_.step) save();
  events_->flush();
  result.steps = state_.step;
  result.best = state_.best;
  result.stopped_early = stop && state_.step < total_;
  return result;
}

}  // namespace smidgen
