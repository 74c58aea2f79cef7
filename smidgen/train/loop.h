// The training loop: steps, evaluation, checkpoints, resume. It knows methods and policies by their
// interfaces only.
//
// Arithmetic of a step: backward takes the SUM of the losses of each micro-batch; when all are
// done, gradients are divided once by what the loss divides by (the step's answer tokens, or its
// units), then clipped. So the result does not depend on how a step is cut into micro-batches,
// beyond rounding.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "smidgen/eval/evaluate.h"
#include "smidgen/io/events.h"
#include "smidgen/io/metrics_log.h"
#include "smidgen/io/run_folder.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/loader.h"
#include "smidgen/train/budgets/registry.h"
#include "smidgen/train/config.h"
#include "smidgen/train/losses/registry.h"
#include "smidgen/train/state.h"
#include "smidgen/train/watchdog.h"

namespace smidgen {

struct StepRecord {
  int64_t step = 0;
  double loss = 0;  // as the loss divides it: per answer token or per unit
  int64_t tokens = 0, answers = 0;
  double learning_rate = 0, grad_norm = 0, tokens_per_s = 0, peak_mb = 0;
  std::optional<double> eval_loss;
  std::map<std::string, double> metrics, eval_metrics;  // of the loss: rewards ...
};

// What the loop tells whoever shows or records it. All calls come between steps.
struct LoopEvents {
  std::function<void(const StepRecord&)> step;
  std::function<void(int64_t step)> gradients;  // after backward, before anything moves
  std::function<void(int64_t step, const fs::path&)> saved;
  // Asked after every step, beside the signals: true saves and ends with Error interrupted.
  std::function<bool()> stop;
};

struct LoopSetup {
  Model& model;
  Adapter& adapter;  // attached here at `slot`
  Objective& objective;
  const Dataset& data;
  const Dataset* eval_data = nullptr;
  const TrainConfig& config;
  const RunFolder& run;
  RunIdentity identity;
  bool allow_inexact_resume = false;
  std::function<void(const fs::path&)>
      save_artefact;  // writes what the method makes of the trained parameters
  LoopEvents events = {};
  int slot = 1;
};

struct LoopResult {
  int64_t steps = 0;
  std::optional<Best> best;
  bool stopped_early = false;
  bool resumed = false;
};

// Number of optimiser steps of a run: max_steps, or as many as `epochs` need.
int64_t total_steps(const TrainConfig& config, const Dataset& data);
LoaderConfig loader_config(const TrainConfig& config);

class Loop {
 public:
  explicit Loop(LoopSetup setup);
  ~Loop();

  int64_t total() const { return total_; }
  int64_t done() const { return state_.step; }

  // Figures that go into the metrics line of the next step, beside the loss's own.
  void note(std::map<std::string, double> figures) { noted_ = std::move(figures); }

  // Goes back to the last complete checkpoint of the run folder: parameters, structure, loader,
  // logs. False when there is none and the run starts at step 0. Call before run().
  bool resume();

  // To the end, to the early stop, or to a signal: then it saves and throws interrupted. A
  // watchdog's stop leaves the last checkpoint as it is.
  LoopResult run();

 private:
  StepRecord train_step();
  double accumulate(const Step& step, Tally& tally);
  EvalResult evaluate_now();
  void note_eval(double loss);
  void save();
  void log(const StepRecord& record, bool digest);
  void apply_edits(std::vector<Edit> edits);
  LoopView view() const;
  void open_logs();
  std::string describe(const Step& step) const;

  LoopSetup s_;
  int64_t total_;
  std::vector<int32_t> lengths_;  // of the units, in tokens
  Loader loader_;
  Watchdog watchdog_;
  std::unique_ptr<Policy> policy_;
  CheckpointStore checkpoints_;
  RunState state_;
  std::unique_ptr<MetricsLog> metrics_;
  std::optional<EventWriter> events_;
  int64_t saved_step_ = -1;
  std::map<std::string, double> noted_;
};

}  // namespace smidgen
