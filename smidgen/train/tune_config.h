// The fields of `tune`: model, training, and where the run lies.
#pragma once

#include <string>

#include "smidgen/methods/open_model.h"
#include "smidgen/train/config.h"

namespace smidgen {

struct TuneConfig {
  ModelConfig model;
  TrainConfig train;
  std::string out;
  bool resume = false;
  bool allow_inexact_resume = false;
  bool dry_run = false;
  bool allow_low_memory = false;
  int64_t samples = 3;
  int64_t sample_tokens = 160;
};

template <class V>
void fields(V& v, TuneConfig& c) {
  fields(v, c.model);
  v("out", c.out, {.help = "Run folder to make", .required = true});
  v("resume", c.resume, {.help = "Go on from the last checkpoint of the run folder"});
  v("allow_inexact_resume", c.allow_inexact_resume,
    {.help = "Resume under another thread count, kernel target or version"});
  v("dry_run", c.dry_run, {.help = "Show the plan, as the verb plan does, and stop"});
  v("allow_low_memory", c.allow_low_memory,
    {.help = "Start although the plan says that memory will not suffice"});
  v("samples", c.samples,
    {.help = "Held-out prompts answered before and after, for the report", .min = 0, .max = 100});
  v("sample_tokens", c.sample_tokens,
    {.help = "Longest of these answers", .min = 1, .unit = "tokens"});
  fields(v, c.train);
}

}  // namespace smidgen
