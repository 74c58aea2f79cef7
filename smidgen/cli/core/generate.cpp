// smidgen generate: one prompt, one answer, streamed.
#include <chrono>
#include <cmath>
#include <iostream>
#include <iterator>
#include <optional>
#include <unistd.h>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/generate_config.h"
#include "smidgen/cli/core/verb.h"

namespace smidgen {

namespace {

struct GenerateConfig {
  ModelConfig model;
  std::optional<std::string> prompt;
  std::optional<fs::path> prompt_file;
  std::optional<std::string> system;
  bool raw = false;
  SamplingConfig sampling;
};

template <class V>
void fields(V& v, GenerateConfig& c) {
  fields(v, c.model);
  v("prompt", c.prompt, {.help = "What to answer; without it, standard input"});
  v("prompt_file", c.prompt_file, {.help = "File that holds the prompt"});
  v("system", c.system, {.help = "System message before the prompt"});
  v("raw", c.raw,
    {.help = "Continue the prompt as it stands; else it is a user's turn where the model has a "
             "chat template"});
  fields(v, c.sampling);
}

std::string prompt_of(const GenerateConfig& c) {
  if (c.prompt && c.prompt_file) {
    throw Error(ErrorKind::usage, "--prompt and --prompt-file cannot be given together", "",
                "give one of them");
  }
  if (c.prompt) return *c.prompt;
  if (c.prompt_file) return read_file(*c.prompt_file, uint64_t{64} << 20);
  if (::isatty(STDIN_FILENO)) {
    throw Error(ErrorKind::usage, "there is no prompt", "",
                "give --prompt, --prompt-file, or text on standard input");
  }
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

std::vector<int32_t> prompt_ids(LoadedModel& loaded, const GenerateConfig& c,
                                const std::string& prompt) {
  if (c.raw || (!loaded.chat_template() && !c.system)) return loaded.tokenizer().encode(prompt);
  Json messages = Json::array();
  if (c.system) messages.push_back({{"role", "system"}, {"content", *c.system}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  return chat_ids(loaded, messages);
}

void run_generate(const Invocation& invocation) {
  const auto config = read_config<GenerateConfig>(invocation.recipe.values);
  if (config.raw && config.system) {
    throw Error(ErrorKind::usage, "--raw has no turns, so --system has no place", "",
                "leave one of them out");
  }
  // Before the model is loaded: a mistyped file name must not cost that time.
  const std::string text = prompt_of(config);
  LoadedModel loaded = open(config.model);
  const Prompt prompt{.ids = prompt_ids(loaded, config, text), .slot = loaded.slot, .stream = 0};
  GenerateOptions options = generate_options(config.sampling, loaded);
  if (!invocation.output.json) {
    options.on_text = [](size_t, std::string_view piece) { console().print(piece); };
  }
  const auto begin = std::chrono::steady_clock::now();
  const Generation made = generate(*loaded.model, prompt, options);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double rate = seconds > 0 ? static_cast<double>(made.ids.size()) / seconds : 0.0;
  if (invocation.output.json) {
    print_json({{"text", made.text},
                {"ids", made.ids},
                {"prompt_ids", prompt.ids},
                {"stop", std::string(to_string(made.finish))},
                {"tokens_per_s", rate}});
  } else {
    if (!made.text.ends_with('\n')) console().print("\n");
    if (invocation.output.terminal) {
      log_line(counted(made.ids.size(), "token"), ", ", std::round(rate * 10) / 10,
               " tokens/s, stop: ", to_string(made.finish));
    }
  }
  if (made.finish == Finish::context)
    log_note("the model's context of ", loaded.model->context(), " tokens is full");
  throw_if_stopped();
}

}  // namespace

CoreVerb generate_verb() {
  return {
      "generate",
      "Generate text",
      Json::array({Json::array({"smidgen generate --model model.gguf --prompt 'Name three rivers.'",
                                "answer a prompt"}),
                   Json::array({"smidgen generate --model model.gguf --adapter run/adapter --raw "
                                "--greedy < start.txt",
                                "continue a text with an adapter"})}),
      [] { return describe<GenerateConfig>(); },
      run_generate,
      ""};
}

}  // namespace smidgen
