// The report of one training run: a single HTML file that needs neither network nor script.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/report/series.h"

namespace smidgen {

struct TokenSpan {
  std::string text;     // bytes of one or more tokens; may end inside a UTF-8 character
  bool answer = false;  // true: the loss sees it
  int64_t tokens = 1;
};

struct RecipeRow {
  std::string key, value, origin;
};

struct TrainableRow {
  std::string name;
  std::vector<int64_t> shape;
  int64_t count = 0;
  std::string format;
  double grad_norm =
      0;  // L2, after the second step: with B = 0 half of a LoRA has no gradient at the first
};

struct SampleRow {
  std::string prompt, before, after, reference;
};

struct FactRow {
  std::string key, value;
};

// Held-out loss is per answer token, in nats, and perplexity shown is exp(loss); or, where
// `per_token` is false, whatever the run's loss is per unit.
struct HeldOut {
  double before = 0, after = 0;
  int64_t tokens = 0, samples = 0;
  // Paired bootstrap interval of the per-sample difference after - before, where it was computed.
  std::optional<double> interval_low, interval_high;
  bool per_token = true;
  std::map<std::string, double> metrics_before, metrics_after;  // rewards of preference losses ...
};

struct RunReport {
  std::string title;
  std::string generated_at;
  Json summary = Json::object();    // fact -> string or number: model, method, data, seed, steps,
                                    // time, trainables
  std::optional<HeldOut> held_out;  // without it the headline takes the first and last of eval_loss
  std::vector<RecipeRow> recipe;
  // x = step, several series per chart. memory in MB (2^20 bytes).
  std::vector<Series> loss, eval_loss, rewards, learning_rate, tokens_per_second, memory;
  std::vector<std::vector<TokenSpan>> first_batch;
  std::vector<TrainableRow> trainables;
  std::vector<std::string> without_gradient;  // judged after the second step
  std::vector<SampleRow> samples;
  std::vector<FactRow> environment;
  std::vector<std::string> warnings;
};

std::string render(const RunReport& report);

// Everything but the series, for RUN/report.json. Bytes that are not UTF-8 become U+FFFD.
std::string report_json(const RunReport& report);

// The report of RUN from RUN/report.json and RUN/metrics.jsonl, so that it can be rebuilt at any
// time. A line of metrics is an object with `step` and any of loss, eval_loss, rewards/chosen,
// rewards/rejected, lr, tokens_per_s, peak_mb; null is a gap. A last line cut short by a crash is
// left out with a warning. Throws not_found without metrics.jsonl, format with file and line for
// what is not such a line or not such a report.json; a missing report.json only warns.
RunReport from_run_folder(const std::string& folder);

}  // namespace smidgen
