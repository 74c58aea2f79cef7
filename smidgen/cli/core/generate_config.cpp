#include "smidgen/cli/core/generate_config.h"

#include "smidgen/base/console.h"
#include "smidgen/base/signals.h"

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

GenerateOptions generate_options(const SamplingConfig& c, LoadedModel& loaded) {
  GenerateOptions options;
  options.sample = {.greedy = c.greedy,
                    .temperature = c.temperature,
                    .top_k = c.top_k,
                    .top_p = c.top_p,
                    .min_p = c.min_p,
                    .repetition_penalty = c.repetition_penalty,
                    .seed = c.seed};
  options.max_new_tokens = c.max_new_tokens;
  options.tokenizer = &loaded.tokenizer();
  if (!c.ignore_eos) options.stop_tokens = stop_tokens(loaded.files, loaded.tokenizer());
  options.stop_strings = stop_strings(c.stop);
  options.interrupt = [] { return stop_requested() != 0 || console().closed(); };
  return options;
}

std::vector<int32_t> chat_ids(LoadedModel& loaded, const Json& messages) {
  const ChatTemplate* chat = loaded.chat_template();
  if (!chat) {
    throw Error(ErrorKind::unsupported, "the model has no chat template",
                loaded.files.path.string(), "generate --raw continues a text without one");
  }
  const Tokenizer& tokenizer = loaded.tokenizer();
  Json variables = template_variables(tokenizer);
  variables["add_generation_prompt"] = true;
  std::vector<int32_t> ids =
      tokenizer.encode(chat->render(messages, variables), {.add_special = false});
  if (tokenizer.adds_bos() && (ids.empty() || ids.front() != *tokenizer.bos()))
    ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

}  // namespace smidgen
