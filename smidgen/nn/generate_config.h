// How text is generated, as a user sets it.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/schema.h"
#include "smidgen/io/model_files.h"
#include "smidgen/nn/generate.h"

namespace smidgen {

struct SamplingConfig {
  int64_t max_new_tokens = 256;
  bool greedy = false;
  double temperature = 0.7;
  int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  uint64_t seed = 0;
  std::string stop;
  bool ignore_eos = false;
};

template <class V>
void fields(V& v, SamplingConfig& c) {
  v("max_new_tokens", c.max_new_tokens, {.help = "Longest answer", .min = 0, .unit = "tokens"});
  v("greedy", c.greedy, {.help = "Always the most likely token"});
  v("temperature", c.temperature, {.help = "Scores are divided by it; 0 is greedy", .min = 0});
  v("top_k", c.top_k, {.help = "Keep the k most likely tokens; 0 keeps all", .min = 0});
  v("top_p", c.top_p,
    {.help = "Keep the most likely tokens that reach this probability together",
     .min = 0,
     .max = 1});
  v("min_p", c.min_p,
    {.help = "Keep tokens of at least this share of the highest probability", .min = 0, .max = 1});
  v("repetition_penalty", c.repetition_penalty,
    {.help = "Makes tokens that occurred less likely; 1 does nothing", .min = 0});
  v("seed", c.seed, {.help = "Decides the draws"});
  v("stop", c.stop,
    {.help = "Text that ends the answer, taken as it is; a JSON list gives several"});
  v("ignore_eos", c.ignore_eos, {.help = "Go on after the model's end token"});
}

// Ends at the stop tokens of the model, at a signal, and when standard output is closed. The
// tokenizer must outlive the options.
GenerateOptions generate_options(const SamplingConfig& config, const ModelFiles& files,
                                 const Tokenizer& tokenizer);

}  // namespace smidgen
