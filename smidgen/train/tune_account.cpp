#include "smidgen/train/tune_account.h"

#include <cmath>

#include "smidgen/base/version.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

Json decisive(const Json& values) {
  Json kept = values;
  for (const char* key : {"out", "debug_nan", "resume", "allow_inexact_resume", "allow_low_memory",
                          "dry_run", "samples", "sample_tokens", "save_every", "save_total_limit",
                          "eval_every", "eval_data", "early_stop", "model", "data", "data_cache"}) {
    kept.erase(key);
  }
  // Blocks that run again have the bits of blocks that are kept; lean rounds otherwise.
  kept.erase("checkpoint_every");
  if (kept.value("memory", "") == "checkpoint") kept["memory"] = "fast";
  return kept;
}

Json tune_sidecar(const TuneConfig& c, LoadedModel& loaded, const Json& recipe) {
  const ChatTemplate* chat = loaded.chat_template(c.train.data.chat_template);
  Json stop = Json::array();
  for (const int32_t id : stop_tokens(loaded.files, loaded.tokenizer())) {
    stop.push_back({{"id", id}, {"token", loaded.tokenizer().token(id)}});
  }
  return {{"smidgen", version()},
          {"base_digest", loaded.files.digest()},
          {"base",
           {{"path", loaded.files.path.string()},
            {"kind", loaded.files.kind == ModelFiles::Kind::gguf ? "gguf" : "folder"},
            {"format", std::string(loaded.model->hosts().front()->weight().original().format())}}},
          {"arithmetic", std::string(to_string(loaded.model->arithmetic()))},
          {"method", c.train.method.name},
          {"recipe", recipe},
          {"chat_template", chat ? chat->source() : ""},
          {"stop_tokens", stop}};
}

Json tune_plan(const TuneConfig& c, const PlannedRun& run, const Dataset* data,
               const Dataset* held_out) {
  const Model& model = *run.loaded().model;
  Json plan = {{"model", c.model.choice.model},
               {"arithmetic", std::string(to_string(model.arithmetic()))},
               {"method", c.train.method.name},
               {"sites", run.adapter().plan().sites.size()},
               {"trainable", run.adapter().store().trainable_elements()},
               {"loss", c.train.loss.name}};
  if (data) {
    plan["samples"] = data->units();
    plan["tokens"] = data->tokens();
    plan["answer_tokens"] = data->answer_tokens();
    plan["held_out_samples"] = held_out ? held_out->units() : 0;
    plan["steps"] = total_steps(c.train, *data);
    plan["batch_tokens"] = c.train.batch_tokens;
    plan["out"] = c.out;
  }
  return plan;
}

Json tune_facts(const TuneConfig& config, const LoadedModel& loaded, const Adapter& adapter,
                const Dataset& data, int64_t steps) {
  return {{"model", loaded.files.path.string()},
          {"base digest", loaded.files.digest()},
          {"arithmetic", std::string(to_string(loaded.model->arithmetic()))},
          {"method", config.train.method.name},
          {"trainable parameters", adapter.store().trainable_elements()},
          {"loss", config.train.loss.name},
          {"training samples", data.units()},
          {"training tokens", data.tokens()},
          {"steps", steps},
          {"seed", config.train.seed}};
}

Json tune_summary(const RunReport& r, const LoopResult& result, const RunFolder& run,
                  const fs::path& artefact) {
  Json summary = {{"steps", result.steps},
                  {"artefact", artefact.string()},
                  {"report", run.report().string()},
                  {"resumed", result.resumed},
                  {"stopped_early", result.stopped_early}};
  if (r.held_out) {
    summary["held_out"] = {{"loss_before", r.held_out->before},
                           {"loss_after", r.held_out->after},
                           {"tokens", r.held_out->tokens},
                           {"samples", r.held_out->samples}};
    if (r.held_out->per_token) {
      summary["held_out"]["perplexity_before"] = std::exp(r.held_out->before);
      summary["held_out"]["perplexity_after"] = std::exp(r.held_out->after);
    }
    for (const auto& [name, value] : r.held_out->metrics_before)
      summary["held_out"][name + "_before"] = value;
    for (const auto& [name, value] : r.held_out->metrics_after)
      summary["held_out"][name + "_after"] = value;
    if (r.held_out->interval_low)
      summary["held_out"]["difference_95"] = {*r.held_out->interval_low,
                                              *r.held_out->interval_high};
  }
  if (result.best) summary["best"] = {{"step", result.best->step}, {"loss", result.best->loss}};
  return summary;
}

}  // namespace smidgen
