#include "smidgen/base/known_keys.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {

bool KnownKeys::active(const Leaf& leaf) const {
  if (leaf.oneof.empty()) return true;
  const auto found = chosen.find(leaf.oneof);
  return found != chosen.end() && found->second == leaf.entry;
}

void KnownKeys::refuse_key(const std::string& path, const std::string& where) const {
  const std::string last = path.substr(path.rfind('.') + 1);
  std::vector<std::string> paths, names;
  for (const Leaf& leaf : leaves) {
    const std::string name = (*leaf.node)["name"];
    if (leaf.node->contains("was")) {
      for (const Json& old : (*leaf.node)["was"]) {
        if (old == last && active(leaf)) {
          throw Error(ErrorKind::usage, str("[", path, "] is now called '", name, "'"), where,
                      str("write ", leaf.path, " or ", leaf.flag));
        }
      }
    }
    if (name == last && !leaf.oneof.empty() && !active(leaf) &&
        path.starts_with(leaf.oneof + ".")) {
      belongs_elsewhere(str("[", path, "]"), name, where);
    }
    if (name == last && active(leaf)) {
      throw Error(ErrorKind::usage, str("[", path, "] is not a known key"), where,
                  str("did you mean '", leaf.path, "'?"));
    }
    if (!active(leaf)) continue;
    paths.push_back(leaf.path);
    names.push_back(name);
  }
  const std::vector<std::string> near = nearest(last, names, 1);
  std::string hint = did_you_mean(path, paths, "");
  if (hint.empty() && !near.empty()) {
    const size_t at =
        static_cast<size_t>(std::find(names.begin(), names.end(), near[0]) - names.begin());
    hint = str("did you mean '", paths[at], "'?");
  }
  if (hint.empty()) hint = str("smidgen ", verb, " --help lists the keys");
  throw Error(ErrorKind::usage, str("[", path, "] is not a known key"), where, hint);
}

void KnownKeys::belongs_elsewhere(const std::string& shown, const std::string& name,
                                  const std::string& where) const {
  std::vector<std::string> entries;
  std::string oneof;
  for (const Leaf& leaf : leaves) {
    if ((*leaf.node)["name"] != name || leaf.oneof.empty()) continue;
    entries.push_back(leaf.entry);
    oneof = leaf.oneof;
  }
  const auto now = chosen.find(oneof);
  throw Error(ErrorKind::usage,
              str(shown, " belongs to ", oneof, " ", join(entries, " or "), ", but ", oneof, " is ",
                  now == chosen.end() ? "not chosen" : now->second),
              where, str("add --", kebab(oneof.substr(oneof.rfind('.') + 1)), " ", entries[0]));
}

void KnownKeys::refuse_word(const CommandWord& word) const {
  if (!word.flag) refuse_key(word.key, "");
  std::vector<std::string> known;
  for (const Leaf& leaf : leaves) {
    if (leaf.flag == word.key) belongs_elsewhere(word.key, (*leaf.node)["name"], "");
    if (!active(leaf)) continue;
    known.push_back(leaf.flag);
    if (word.key == "--no-" + leaf.flag.substr(2) && (*leaf.node)["type"] == "bool") {
      throw Error(ErrorKind::usage, str("there is no flag ", word.key), "",
                  str("write ", leaf.flag, "=false"));
    }
    if (!leaf.node->contains("was")) continue;
    for (const Json& old : (*leaf.node)["was"]) {
      if (word.key == "--" + kebab(old.get<std::string>())) {
        throw Error(ErrorKind::usage, str(word.key, " is now called ", leaf.flag), "",
                    str("write ", leaf.flag));
      }
    }
  }
  for (const Leaf& leaf : leaves) {
    if (active(leaf)) continue;
    const std::vector<std::string> near = nearest(word.key, known, 1);
    if (near.empty() && !nearest(word.key, {leaf.flag}, 1).empty()) {
      throw Error(ErrorKind::usage, str(verb, " has no flag ", word.key), "",
                  str("did you mean ", leaf.flag, " of ", leaf.oneof, " ", leaf.entry, "?"));
    }
  }
  known.push_back("--help");
  throw Error(ErrorKind::usage, str(verb, " has no flag ", word.key), "",
              did_you_mean(word.key, known, str("smidgen ", verb, " --help lists the flags")));
}

}  // namespace smidgen
