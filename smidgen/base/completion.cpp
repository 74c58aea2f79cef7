// Completion scripts with every word in them: pressing Tab starts no process.
#include <algorithm>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/base/help.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/str.h"

namespace smidgen {
namespace {

// What may follow a flag: words, or files when `files` is set.
struct FlagWords {
  std::string flag;
  std::string help;
  std::vector<std::string> values;
  bool files = false, alone = false;
};

std::vector<std::string> names_of(const Json& object) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : object.items()) names.push_back(name);
  return names;
}

std::vector<FlagWords> flags_of(const Json& document, const std::string& verb) {
  std::vector<FlagWords> all;
  std::set<std::string> seen;
  const Json registries = document.value("registries", Json::object());
  for (const Leaf& leaf : leaves(document, verb)) {
    if (!seen.insert(leaf.flag).second) continue;
    const Json& node = *leaf.node;
    FlagWords flag{
        leaf.flag, node.value("help", ""), {}, node["type"] == "path", node["type"] == "bool"};
    if (node.contains("choices")) flag.values = node["choices"].get<std::vector<std::string>>();
    if (node.contains("registry")) {
      const auto registry = registries.find(node["registry"].get<std::string>());
      if (registry != registries.end()) flag.values = names_of(*registry);
    }
    // A model is a string to the schema (base+adapter), and nearly always a path.
    if (node["type"] == "string" && leaf.flag == "--model") flag.files = true;
    all.push_back(std::move(flag));
  }
  all.push_back({"--help", "Show help", {}, false, true});
  return all;
}

std::string bash_script(const Json& document) {
  std::string out =
      "# bash completion of smidgen; write it to a file that bash reads, e.g.\n"
      "#   smidgen completion bash > ~/.local/share/bash-completion/completions/smidgen\n"
      "_smidgen() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags=\"\"\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n";
  out += str("    COMPREPLY=($(compgen -W \"", join(names_of(document["verbs"]), " "),
             "\" -- \"$word\"))\n");
  out += "    return\n  fi\n  case \"${COMP_WORDS[1]}\" in\n";
  for (const std::string& verb : names_of(document["verbs"])) {
    std::vector<std::string> flags;
    out += str("    ", verb, ")\n      case \"$before\" in\n");
    for (const FlagWords& flag : flags_of(document, verb)) {
      flags.push_back(flag.flag);
      if (!flag.values.empty()) {
        out += str("        ", flag.flag, ") COMPREPLY=($(compgen -W \"", join(flag.values, " "),
                   "\" -- \"$word\")); return ;;\n");
      } else if (!flag.alone) {
        out +=
            str("        ", flag.flag, ") ",
                flag.files ? "COMPREPLY=($(compgen -f -- \"$word\")); return" : "return", " ;;\n");
      }
    }
    out += str("      esac\n      flags=\"", join(flags, " "), "\" ;;\n");
  }
  out +=
      "  esac\n"
      "  case \"$word\" in\n"
      "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
      "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
      "  esac\n"
      "}\n"
      "complete -o filenames -F _smidgen smidgen\n";
  return out;
}

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

// Text inside an _arguments specification.
std::string zsh_text(std::string text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_script(const Json& document) {
  std::string out =
      "#compdef smidgen\n_smidgen() {\n  if (( CURRENT == 2 )); then\n    local -a verbs\n    "
      "verbs=(\n";
  for (const auto& [verb, entry] : document["verbs"].items()) {
    out += str("      ", shell_quoted(verb + ":" + zsh_text(entry.value("summary", ""))), "\n");
  }
  out +=
      "    )\n    _describe verb verbs\n    return\n  fi\n  local verb=$words[2]\n  shift words\n  "
      "(( CURRENT-- ))\n"
      "  case $verb in\n";
  for (const std::string& verb : names_of(document["verbs"])) {
    out += str("    ", verb, ")\n      _arguments");
    for (const FlagWords& flag : flags_of(document, verb)) {
      std::string spec = flag.flag + "[" + zsh_text(flag.help) + "]";
      if (!flag.alone) {
        spec += ":value:";
        if (!flag.values.empty()) spec += "(" + join(flag.values, " ") + ")";
        if (flag.files) spec += "_files";
      }
      out += " \\\n        " + shell_quoted(spec);
    }
    out += " \\\n        '*:file:_files' ;;\n";
  }
  out +=
      "  esac\n}\nif [ \"$funcstack[1]\" = \"_smidgen\" ]; then _smidgen; else compdef _smidgen "
      "smidgen; fi\n";
  return out;
}

std::string fish_text(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_script(const Json& document) {
  std::string out = "# fish completion of smidgen\n";
  for (const auto& [verb, entry] : document["verbs"].items()) {
    out += str("complete -c smidgen -n __fish_use_subcommand -f -a ", verb, " -d ",
               fish_text(entry.value("summary", "")), "\n");
  }
  for (const std::string& verb : names_of(document["verbs"])) {
    for (const FlagWords& flag : flags_of(document, verb)) {
      out += str("complete -c smidgen -n '__fish_seen_subcommand_from ", verb, "' -l ",
                 flag.flag.substr(2));
      if (!flag.values.empty())
        out += " -x -a " + fish_text(join(flag.values, " "));
      else if (!flag.alone)
        out += flag.files ? " -r" : " -x";
      if (!flag.help.empty()) out += " -d " + fish_text(flag.help);
      out += "\n";
    }
  }
  return out;
}

}  // namespace

std::string completion_script(const Json& document, const std::string& shell) {
  if (shell == "bash") return bash_script(document);
  if (shell == "zsh") return zsh_script(document);
  if (shell == "fish") return fish_script(document);
  throw Error(ErrorKind::usage, str("there is no completion for '", shell, "'"), "",
              did_you_mean(shell, {"bash", "zsh", "fish"}, "known: bash, zsh, fish"));
}

}  // namespace smidgen
