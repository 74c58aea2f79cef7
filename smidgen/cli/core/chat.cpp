// smidgen chat: a conversation in the terminal, or a script of user turns on standard input, one a
// line.
#include <csignal>
#include <iostream>
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

struct ChatConfig {
  ModelConfig model;
  std::string system;
  std::string chat_template = "auto";
  SamplingConfig sampling;
};

template <class V>
void fields(V& v, ChatConfig& c) {
  fields(v, c.model);
  v("system", c.system, {.help = "System message; empty leaves it to the model's template"});
  v("chat_template", c.chat_template,
    {.help = "auto: the model's chat template; or the name of one of several"});
  fields(v, c.sampling);
}

constexpr const char* kHelp =
    "/reset            forget the conversation\n"
    "/adapter          list the adapters\n"
    "/adapter NAME...  go on with these; none is the base alone\n"
    "/exit             leave (so does Ctrl-D)\n"
    "/help             this list\n"
    "Ctrl-C stops an answer; twice, it leaves.\n";

class Conversation {
 public:
  Conversation(LoadedModel& loaded, const ChatConfig& config, bool json)
      : loaded_(loaded),
        options_(generate_options(config.sampling, loaded.files, loaded.tokenizer())),
        system_(config.system),
        json_(json) {
    if (!json) options_.on_text = [](size_t, std::string_view text) { console().print(text); };
    reset();
  }

  void reset() {
    messages_ = Json::array();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }

  // Other adapters from the next answer on. The conversation so far stays.
  void adapter(const std::string& words) {
    std::istringstream in(words);
    Mix mix;
    bool any = false;
    for (std::string word; in >> word; any = true) {
      if (word != "none") mix.push_back({word, 1});
      for (const Share& share : loaded_.mix) {
        if (share.name == word) mix.back().scale = share.scale;
      }
    }
    if (!any) {
      const auto& names = loaded_.adapters->names();
      log_line(names.empty() ? std::string("there are no adapters") : join(names));
      return;
    }
    try {
      loaded_.slot = loaded_.adapters->slot(mix);
    } catch (const Error& error) {
      log_note(error.message(), error.hint().empty() ? "" : "; ", error.hint());
    }
  }

  void say(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    const Generation made = generate(
        *loaded_.model, {.ids = ids_that_fit(), .slot = loaded_.slot, .stream = turn_++}, options_);
    messages_.push_back({{"role", "assistant"}, {"content", made.text}});
    if (json_) {
      print_json(
          {{"text", made.text}, {"ids", made.ids}, {"stop", std::string(to_string(made.finish))}});
    } else if (!made.text.ends_with('\n')) {
      console().print("\n");
    }
    if (made.finish == Finish::context) log_note("the context is full; /reset starts anew");
  }

 private:
  // Leaves out the oldest turns, a question with its answer, until the answer has room.
  std::vector<int32_t> ids_that_fit() {
    const int64_t context = loaded_.model->context();
    const int64_t room = context - std::min(options_.max_new_tokens, context / 4);
    std::vector<int32_t> ids = chat_ids(loaded_, messages_);
    const size_t first = system_.empty() ? 0 : 1;
    size_t dropped = 0;
    while (static_cast<int64_t>(ids.size()) > room && messages_.size() > first + 1) {
      messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(first),
                      messages_.begin() + static_cast<std::ptrdiff_t>(first + 2));
      ++dropped;
      ids = chat_ids(loaded_, messages_);
    }
    if (dropped)
      log_note("the context of ", context, " tokens is full: ", dropped,
               " of the oldest turns are forgotten");
    return ids;
  }

  LoadedModel& loaded_;
  GenerateOptions options_;
  std::string system_;
  bool json_;
  Json messages_;
  uint64_t turn_ = 0;
};

// False at the end of the input.
bool read_line(std::string& line, bool terminal) {
  if (terminal) console().print("> ");
  return static_cast<bool>(std::getline(std::cin, line));
}

void run_chat(const Invocation& invocation) {
  const auto config = read_config<ChatConfig>(invocation.recipe.values);
  LoadedModel loaded = open(config.model);
  loaded.chat_template(config.chat_template);
  const bool json = invocation.output.json;
  const bool terminal = !json && ::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO);
  (void)chat_ids(loaded,
                 Json::array({{{"role", "user"},
                               {"content", ""}}}));  // says at once when there is no template
  Conversation talk(loaded, config, json);
  if (terminal)
    console().print(str(loaded.files.path.filename().string(), ". /help lists the commands.\n"));
  for (std::string line; !console().closed() && read_line(line, terminal);) {
    if (stop_requested() == SIGTERM) throw_if_stopped();
    clear_stop_request();
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (line == "/exit" || line == "/quit") return;
    if (line == "/reset") {
      talk.reset();
    } else if (line == "/help") {
      console().print(kHelp);
    } else if (line == "/adapter" || line.starts_with("/adapter ")) {
      talk.adapter(line.substr(8));
    } else if (line.starts_with("/") && line.find(' ') == std::string::npos) {
      log_note("there is no command ", line, "; /help lists them");
    } else {
      talk.say(line);
      if (stop_requested() == SIGTERM) throw_if_stopped();
      clear_stop_request();
    }
  }
  if (terminal) console().print("\n");
}

}  // namespace

CoreVerb chat_verb() {
  return {
      "chat",
      "Talk with a model",
      Json::array(
          {Json::array({"smidgen chat model.gguf", "talk in the terminal"}),
           Json::array({"printf 'Hello\\nAnd now in French\\n' | smidgen chat model.gguf --greedy",
                        "one turn a line"})}),
      [] { return describe<ChatConfig>(); },
      run_chat,
      "model"};
}

}  // namespace smidgen
