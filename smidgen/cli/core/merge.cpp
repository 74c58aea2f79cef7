// smidgen merge: several models as one, by a recipe of mergekit's.
#include <chrono>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/merge/merge_run.h"

namespace smidgen {

namespace {

void run_merge(const Invocation& invocation) {
  const auto config = read_config<MergeRun>(invocation.recipe.values);
  const Json result = run_merge(config);
  if (invocation.output.json) return print_json(result);
  if (config.dry_run) {
    for (const Json& stage : result["stages"])
      console().print(str(stage["out"].get<std::string>(), ": ", stage["tensors"].dump(),
                          " tensors, ", bytes_text(stage["bytes"].get<int64_t>()), ", ",
                          stage["method"].get<std::string>(), "\n"));
    return;
  }
  for (const Json& stage : result["stages"])
    log_line("wrote ", stage["out"].get<std::string>(), ": ", stage["tensors"].dump(),
             " tensors in ", duration_text(stage["seconds"].get<double>()), ", ",
             bytes_text(static_cast<int64_t>(stage["bytes_per_second"].get<double>())), "/s");
}

}  // namespace

CoreVerb merge_verb() {
  return {.name = "merge",
          .summary = "Merge models by a recipe, in streaming passes over their files",
          .examples = Json::array({Json::array({"smidgen merge recipe.yaml merged",
                                                "recipes of mergekit run unchanged"}),
                                   Json::array({"smidgen merge recipe.yaml merged --dry-run",
                                                "check everything, write nothing"})}),
          .describe = [] { return describe<MergeRun>(); },
          .run = run_merge,
          .positional = "config out"};
}

}  // namespace smidgen
