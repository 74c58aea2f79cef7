// smidgen generate: one prompt, one answer, streamed; or a file of prompts, each with the adapters
// that it names.
#include <chrono>
#include <cmath>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <unistd.h>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/nn/generate_config.h"

namespace smidgen {

namespace {

struct GenerateConfig {
  ModelConfig model;
  std::optional<std::string> prompt;
  std::optional<fs::path> prompt_file;
  std::optional<fs::path> prompts;
  int64_t batch = 16;
  std::optional<std::string> system;
  bool raw = false;
  std::string chat_template = "auto";
  SamplingConfig sampling;
};

template <class V>
void fields(V& v, GenerateConfig& c) {
  fields(v, c.model);
  v("prompt", c.prompt, {.help = "What to answer; without it, standard input"});
  v("prompt_file", c.prompt_file, {.help = "File that holds the prompt"});
  v("prompts", c.prompts,
    {.help = "File of JSON lines {prompt, adapter}: adapter is a name, a list of names, a map of "
             "names to scales, or null for the base; left out, all of --adapter"});
  v("batch", c.batch, {.help = "Prompts of the file that run together", .min = 1, .max = 4096});
  v("system", c.system, {.help = "System message before the prompt"});
  v("raw", c.raw,
    {.help = "Continue the prompt as it stands; else it is a user's turn where the model has a "
             "chat template"});
  v("chat_template", c.chat_template,
    {.help = "auto: the model's chat template where it has one; none: as --raw; or the name of one "
             "of several"});
  fields(v, c.sampling);
}

std::string prompt_of(const GenerateConfig& c) {
  if ((c.prompt ? 1 : 0) + (c.prompt_file ? 1 : 0) + (c.prompts ? 1 : 0) > 1) {
    throw Error(ErrorKind::usage, "--prompt, --prompt-file and --prompts cannot be given together",
                "", "give one of them");
  }
  if (c.prompts) return read_file(*c.prompts, uint64_t{64} << 20);
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
  const bool has = loaded.chat_template(c.chat_template) != nullptr;
  if (c.raw || c.chat_template == "none" || (!has && !c.system))
    return loaded.tokenizer().encode(prompt);
  Json messages = Json::array();
  if (c.system) messages.push_back({{"role", "system"}, {"content", *c.system}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  return chat_ids(loaded, messages);
}

// Which adapters a row asks for.
Mix mix_of(const Json& row, const LoadedModel& loaded, const std::string& where) {
  const auto given = row.find("adapter");
  if (given == row.end()) return loaded.mix;
  Mix mix;
  const auto scale_of = [&](const std::string& name) {
    for (const Share& share : loaded.mix) {
      if (share.name == name) return share.scale;
    }
    return 1.0;  // slot() says that there is no such adapter
  };
  const auto wrong = [&] {
    return Error(ErrorKind::data,
                 "[adapter] must be a name, a list of names, a map of names to scales, or null",
                 where);
  };
  if (given->is_null()) return mix;
  if (given->is_string()) return {{*given, scale_of(*given)}};
  if (!given->is_structured()) throw wrong();
  for (const auto& [key, value] : given->items()) {
    if (given->is_array() ? !value.is_string() : !value.is_number()) throw wrong();
    if (given->is_array()) {
      mix.push_back({value, scale_of(value)});
    } else {
      mix.push_back({key, value});
    }
  }
  return mix;
}

struct PromptRow {
  std::string text;
  Mix mix;
};

std::vector<PromptRow> prompt_rows(const std::string& lines, const LoadedModel& loaded,
                                   const fs::path& file) {
  std::vector<PromptRow> rows;
  std::istringstream in(lines);
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = str(file.string(), ":", ++number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("prompt") || !row["prompt"].is_string())
      throw Error(ErrorKind::data, "a row must be {\"prompt\": text, \"adapter\": ...}", where);
    for (const auto& [key, value] : row.items()) {
      if (key == "prompt" || key == "adapter") continue;
      throw Error(ErrorKind::data, str("unknown key '", key, "'"), where,
                  did_you_mean(key, {"prompt", "adapter"}));
    }
    rows.push_back({row["prompt"], mix_of(row, loaded, where)});
  }
  if (rows.empty()) throw Error(ErrorKind::data, "the file has no prompts", file.string());
  return rows;
}

// A file of prompts: one JSON line each, in the order of the file.
void run_prompts(const GenerateConfig& config, const std::string& lines) {
  LoadedModel loaded = open(config.model);
  GenerateOptions options = generate_options(config.sampling, loaded.files, loaded.tokenizer());
  const std::vector<PromptRow> rows = prompt_rows(lines, loaded, *config.prompts);
  const auto size = static_cast<size_t>(config.batch);
  for (size_t begin = 0; begin < rows.size(); begin += size) {
    std::vector<Prompt> prompts;
    for (size_t i = begin; i < std::min(rows.size(), begin + size); ++i) {
      prompts.push_back({.ids = prompt_ids(loaded, config, rows[i].text),
                         .slot = loaded.adapters->slot(rows[i].mix),
                         .stream = i});
    }
    const std::vector<Generation> made = generate(*loaded.model, prompts, options);
    for (size_t i = 0; i < made.size(); ++i) {
      print_json({{"prompt", rows[begin + i].text},
                  {"text", made[i].text},
                  {"ids", made[i].ids},
                  {"stop", std::string(to_string(made[i].finish))}});
    }
    throw_if_stopped();
  }
}

void run_generate(const Invocation& invocation) {
  const auto config = read_config<GenerateConfig>(invocation.recipe.values);
  if (config.raw && config.system) {
    throw Error(ErrorKind::usage, "--raw has no turns, so --system has no place", "",
                "leave one of them out");
  }
  if (config.chat_template != "auto" &&
      (config.raw || (config.chat_template == "none" && config.system))) {
    throw Error(ErrorKind::usage,
                config.raw ? "--raw has no turns, so --chat-template has no place"
                           : "without a template there are no turns, so --system has no place",
                "", "leave one of them out");
  }
  // Before the model is loaded: a mistyped file name must not cost that time.
  const std::string text = prompt_of(config);
  if (config.prompts) return run_prompts(config, text);
  LoadedModel loaded = open(config.model);
  const Prompt prompt{.ids = prompt_ids(loaded, config, text), .slot = loaded.slot, .stream = 0};
  GenerateOptions options = generate_options(config.sampling, loaded.files, loaded.tokenizer());
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
                                "continue a text with an adapter"}),
                   Json::array({"smidgen generate --model model.gguf --adapter fr=fr/adapter "
                                "--adapter de=de/adapter:0.5 --prompts prompts.jsonl",
                                "a different adapter for each row"})}),
      [] { return describe<GenerateConfig>(); },
      run_generate,
      ""};
}

}  // namespace smidgen
