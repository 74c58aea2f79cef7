// smidgen <verb> [recipe.yaml] [--flag value] [key.path=value]
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>

#include "smidgen/base/console.h"
#include "smidgen/base/cpu.h"
#include "smidgen/base/error.h"
#include "smidgen/base/help.h"
#include "smidgen/base/log.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/command.h"
#include "smidgen/cli/core_library.h"

namespace smidgen {
namespace {

bool has_word(const std::vector<std::string>& words, std::string_view wanted) {
  for (const std::string& word : words) {
    if (word == "--") return false;
    if (word == wanted) return true;
  }
  return false;
}

HelpStyle help_style() {
  ConsoleMode mode = detect_console(false, false);
  return {console().width(), mode.colour};
}

[[noreturn]] void unknown_verb(const std::string& verb) {
  for (const auto& [name, summary] : core_verbs()) {
    if (name == verb) {
      (void)load_core();  // says what is missing
      throw Error(ErrorKind::unsupported,
                  str("schema.json is missing, so the options of ", verb, " are not known"),
                  program_folder().string(),
                  "build again, or run smidgen schema --live --out schema.json there");
    }
  }
  std::vector<std::string> names;
  for (const auto& [name, entry] : document()["verbs"].items()) names.push_back(name);
  for (const auto& [name, summary] : core_verbs()) {
    if (!document()["verbs"].contains(name)) names.push_back(name);
  }
  throw Error(ErrorKind::usage, str("there is no verb '", verb, "'"), "",
              did_you_mean(verb, names, str("known: ", join(names))));
}

int run_verb(Call call) {
  if (!document()["verbs"].contains(call.verb)) unknown_verb(call.verb);
  if (wants_help(call.words)) {
    print_text(help_text(document(), call.verb, chosen_entries(document(), call), help_style()));
    return 0;
  }
  Invocation invocation{call.verb, resolve(document(), call), {}, 1, {}};
  const Json& common = invocation.recipe.common;
  const ConsoleMode mode = detect_console(common["json"], common["quiet"]);
  console().set_mode(mode);
  invocation.output = {mode.json, mode.quiet, mode.terminal, mode.colour};
  invocation.threads =
      common["threads"].is_null() ? default_threads() : common["threads"].get<int>();
  for (const std::string& note : invocation.recipe.notes) log_note(note);
  for (const Verb& verb : own_verbs()) {
    if (verb.name != call.verb) continue;
    verb.run(invocation);
    return 0;
  }
  invocation.recipe.common["threads"] = invocation.threads;
  invocation.yaml = to_yaml(document(), invocation.recipe);
  set_core_environment(invocation.threads);
  install_signals();
  return load_core().run(invocation);
}

// Whether exit code 1 is an answer of this verb, as it is of diff: then a failure is a 2.
bool answers(const std::vector<std::string>& words) {
  try {
    const Json& verbs = document()["verbs"];
    return !words.empty() && verbs.contains(words[0]) && verbs[words[0]].value("answers", false);
  } catch (const Error&) {
    return false;  // of the document itself, which is what is reported
  }
}

int report(const Error& error, bool json, int failure = 1) {
  const bool colour = console().mode().colour;
  console().live("");
  std::string text;
  if (json) {
    const Json object = {{"error",
                          {{"kind", std::string(to_string(error.kind()))},
                           {"message", error.message()},
                           {"where", error.where()},
                           {"hint", error.hint()}}}};
    text = object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  } else {
    text = str(colour ? "\033[31merror: \033[0m" : "error: ", error.what(), "\n");
    if (!error.hint().empty())
      text += str(colour ? "\033[36mhint: \033[0m" : "hint: ", error.hint(), "\n");
  }
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
  if (error.kind() == ErrorKind::interrupted) return interrupted_exit_code();
  return std::max(failure, exit_code(error.kind()));
}

int run(std::vector<std::string> words) {
  const bool json = has_word(words, "--json");
  try {
    if (words.empty() || words[0] == "--help" || words[0] == "-h") {
      print_text(overview_text(document(), help_style()));
      return words.empty() ? 2 : 0;
    }
    if (words[0] == "--version") words[0] = "version";
    if (words[0].starts_with("-")) {
      throw Error(ErrorKind::usage, str("'", words[0], "' stands where a verb is needed"), "",
                  "smidgen --help lists the verbs");
    }
    Call call{words[0], {words.begin() + 1, words.end()}, {}};
    return run_verb(std::move(call));
  } catch (const Error& error) {
    return report(error, json, answers(words) ? 2 : 1);
  } catch (const std::bad_alloc&) {
    return report(
        Error(ErrorKind::resource, "out of memory", "", "smidgen doctor shows the limits"), json,
        answers(words) ? 2 : 1);
  } catch (const std::filesystem::filesystem_error& error) {
    return report(Error(ErrorKind::resource, error.code().message(), error.path1().string()), json,
                  answers(words) ? 2 : 1);
  } catch (const std::exception& error) {
    return report(Error(ErrorKind::unsupported, str("unexpected: ", error.what()), "",
                        "this should not happen; please report it with the command"),
                  json, answers(words) ? 2 : 1);
  }
}

}  // namespace
}  // namespace smidgen

int main(int argc, char** argv) {
  // A reader that goes away ends the output, not the work.
  std::signal(SIGPIPE, SIG_IGN);
  return smidgen::run({argv + 1, argv + argc});
}
