// smidgen tune: trains a method on data and leaves a run folder.
#include "smidgen/train/tune.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/str.h"
#include "smidgen/cli/core/verb.h"

namespace smidgen {

namespace {

std::string fixed(const std::string& label, double value, int digits) {
  std::ostringstream out;
  out << label << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

void print_end(const Json& summary, const RunReport& r) {
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
      << (summary["stopped_early"].get<bool>() ? "stopped early after " : "done: ")
      << summary["steps"] << " steps\n  " << summary["artefact"].get<std::string>() << "\n  "
      << summary["report"].get<std::string>() << "\n";
  console().print(out.str());
}

void run_tune(const Invocation& call) {
  const TuneOutcome outcome =
      tune({.recipe = call.recipe, .yaml = call.yaml, .threads = call.threads}, {});
  const bool planned = !outcome.plan.is_null();
  if (call.output.json) return print_json(planned ? outcome.plan : outcome.summary);
  if (planned) return console().print(plan_text(outcome.plan));
  if (!call.output.quiet) print_end(outcome.summary, outcome.report);
}

}  // namespace

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
