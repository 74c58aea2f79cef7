// Tuning for whoever is not the command: the same run, watched by a program.
#pragma once

#include <functional>

#include "smidgen/base/json.h"
#include "smidgen/cli/core_api.h"
#include "smidgen/train/loop.h"

namespace smidgen {

struct TuneHooks {
  std::function<void(const StepRecord&, int64_t total)> step;
  // Asked after every step; true saves everything and ends with Error interrupted.
  std::function<bool()> stop;
  // What `smidgen tune --json` prints at the end.
  std::function<void(const Json& summary)> result;
};

void run_tune(const Invocation& call, const TuneHooks& hooks);

// The field list of the verb.
Json tune_fields();

}  // namespace smidgen
