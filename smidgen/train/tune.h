// A tuning run from its recipe to its folder, for whoever starts one: the command, or a program.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "smidgen/base/json.h"
#include "smidgen/base/recipe.h"
#include "smidgen/report/run_report.h"
#include "smidgen/train/loop.h"

namespace smidgen {

struct TuneCall {
  Resolved recipe;
  std::string yaml;  // the same with origins, for the run folder
  int threads = 1;   // recorded: a run resumes under the same number
};

struct TuneHooks {
  std::function<void(const StepRecord&, int64_t total)> step;
  // Asked after every step; true saves everything and ends with Error interrupted.
  std::function<bool()> stop;
};

struct TuneOutcome {
  Json plan;         // of a dry run, which does nothing else; else null
  Json summary;      // steps, artefact, report, held_out, best ...; null for a dry run
  RunReport report;  // what the page of the run shows
};

// Trains the method on the data and leaves the run folder. Throws what opening the model, reading
// the data and Loop throw.
TuneOutcome tune(const TuneCall& call, const TuneHooks& hooks);

// A plan without a run: see plan.h and step_probe.h.
struct PlanCall {
  std::string tokens;          // the shape of a step in place of data: 8x512; empty: the data's
  std::optional<int64_t> fit;  // bytes: what would fit into so many?
  bool timing = true;
};
Json plan_tuning(const TuneCall& call, const PlanCall& plan);

// The field list of TuneConfig.
Json tune_fields();

}  // namespace smidgen
