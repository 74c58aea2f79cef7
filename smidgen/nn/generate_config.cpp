#include "smidgen/nn/generate_config.h"

#include "smidgen/base/console.h"
#include "smidgen/base/signals.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

namespace {

std::vector<std::string> stop_strings(const std::string& text) {
  if (text.empty()) return {};
  if (text.front() == '[') {
    const Json list = Json::parse(text, nullptr, false);
    bool strings = list.is_array() && !list.empty();
    if (strings) {
      for (const Json& item : list) strings &= item.is_string();
    }
    if (strings) return list.get<std::vector<std::string>>();
  }
  return {text};
}

}  // namespace

GenerateOptions generate_options(const SamplingConfig& c, const ModelFiles& files,
                                 const Tokenizer& tokenizer) {
  GenerateOptions options;
  options.sample = {.greedy = c.greedy,
                    .temperature = c.temperature,
                    .top_k = c.top_k,
                    .top_p = c.top_p,
                    .min_p = c.min_p,
                    .repetition_penalty = c.repetition_penalty,
                    .seed = c.seed};
  options.max_new_tokens = c.max_new_tokens;
  options.tokenizer = &tokenizer;
  if (!c.ignore_eos) options.stop_tokens = stop_tokens(files, tokenizer);
  options.stop_strings = stop_strings(c.stop);
  options.interrupt = [] { return stop_requested() != 0 || console().closed(); };
  return options;
}

}  // namespace smidgen
