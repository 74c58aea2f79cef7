// What a tuning run says of itself: its plan, what decides its result, and what it leaves beside
// the adapter, in the report and at the end.
#pragma once

#include "smidgen/base/json.h"
#include "smidgen/io/run_folder.h"
#include "smidgen/report/run_report.h"
#include "smidgen/train/loop.h"
#include "smidgen/train/plan.h"
#include "smidgen/train/tune_config.h"

namespace smidgen {

// The values of the recipe that decide the result. Where the run lies, how often it saves or
// scores, and how it is shown may differ between a run and its continuation.
Json decisive(const Json& values);

// smidgen.json of the adapter folder.
Json tune_sidecar(const TuneConfig& config, LoadedModel& loaded, const Json& recipe);

// Without data (null) nothing is said of it.
Json tune_plan(const TuneConfig& config, const PlannedRun& run, const Dataset* data,
               const Dataset* held_out);

// The table at the head of the report.
Json tune_facts(const TuneConfig& config, const LoadedModel& loaded, const Adapter& adapter,
                const Dataset& data, int64_t steps);

Json tune_summary(const RunReport& report, const LoopResult& result, const RunFolder& run,
                  const fs::path& artefact);

}  // namespace smidgen
