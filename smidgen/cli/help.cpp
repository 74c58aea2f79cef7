#include "smidgen/base/help.h"

#include "smidgen/base/console.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/str.h"
#include "smidgen/base/version.h"
#include "smidgen/cli/command.h"

namespace smidgen {
namespace {

struct HelpConfig {
  std::string verb;
};
template <class V>
void fields(V& v, HelpConfig& c) {
  v("verb", c.verb, {.help = "Verb to explain; none lists them"});
}

void run_help(const Invocation& invocation) {
  const auto config = read_config<HelpConfig>(invocation.recipe.values);
  const HelpStyle style{console().width(), invocation.output.colour};
  if (config.verb.empty()) return print_text(overview_text(document(), style));
  const Call call{config.verb};
  print_text(help_text(document(), config.verb, chosen_entries(document(), call), style));
}

const VerbEntry kHelp([] {
  return Verb{"help",
              "Show the verbs, or the options of one",
              describe<HelpConfig>(),
              "verb",
              Json::array(),
              run_help};
});

void run_version(const Invocation& invocation) {
  if (invocation.output.json) return print_json({{"version", version()}});
  print_text(str("smidgen ", version(), "\n"));
}

const VerbEntry kVersion([] {
  return Verb{"version", "Show the version", Json::array(), "", Json::array(), run_version};
});

struct CompletionConfig {
  std::string shell;
};
template <class V>
void fields(V& v, CompletionConfig& c) {
  v.choice("shell", c.shell, {"bash", "zsh", "fish"},
           {.help = "Shell to write for", .required = true});
}

void run_completion(const Invocation& invocation) {
  print_text(completion_script(document(), invocation.recipe.values["shell"]));
}

const VerbEntry kCompletion([] {
  return Verb{
      "completion",
      "Write a completion script for a shell",
      describe<CompletionConfig>(),
      "shell",
      Json::array({Json::array({"source <(smidgen completion bash)", "for this shell only"})}),
      run_completion};
});

}  // namespace
}  // namespace smidgen
