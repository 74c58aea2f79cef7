#include "smidgen/base/command_words.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// A word of the form key=value whose key looks like a key path, not like a file name with a slash.
size_t override_split(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == word.npos || equals == 0) return word.npos;
  const bool key = word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") == equals &&
                   word[0] >= 'a' && word[0] <= 'z';
  return key ? equals : word.npos;
}

class Splitter {
 public:
  Splitter(const Call& call, const std::vector<Leaf>& leaves,
           const std::vector<std::string>& positional)
      : call_(call), leaves_(leaves), positional_(positional) {}

  std::vector<CommandWord> split() const {
    std::vector<CommandWord> words;
    const std::vector<std::string>& all = call_.words;
    bool flags = true;
    size_t bare = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const std::string& word = all[i];
      if (flags && word == "--") {
        flags = false;
      } else if (flags && word.starts_with("--")) {
        const size_t equals = word.find('=');
        CommandWord flag{word.substr(0, equals), equals == word.npos ? "" : word.substr(equals + 1),
                         equals != word.npos, true};
        const bool takes_next = !flag.has_value && !is_switch(flag.key);
        if (takes_next && i + 1 < all.size() && !all[i + 1].starts_with("--")) {
          flag.value = all[++i];
          flag.has_value = true;
        }
        words.push_back(std::move(flag));
      } else if (flags && word.size() > 1 && word[0] == '-') {
        throw Error(ErrorKind::usage, str("there is no flag '", word, "'"), "",
                    "flags are words with two dashes: --help lists them");
      } else {
        const size_t equals = flags ? override_split(word) : word.npos;
        const bool path =
            equals != word.npos && (positional_.empty() || is_path(word.substr(0, equals)));
        if (path) {
          words.push_back({word.substr(0, equals), word.substr(equals + 1), true, false});
          continue;
        }
        words.push_back({positional_.empty() ? "" : place_of(bare++, word), word, true, false});
      }
    }
    return words;
  }

 private:
  // The field that the bare word number `at` sets. A list at the end takes all that follow.
  const std::string& place_of(size_t at, const std::string& word) const {
    if (at < positional_.size()) return positional_[at];
    for (const Leaf& leaf : leaves_) {
      if (leaf.path == positional_.back() && (*leaf.node)["type"] == "list") return leaf.path;
    }
    throw Error(
        ErrorKind::usage, str("'", word, "' is one argument too many"), "",
        str(call_.verb, " takes ", positional_.size() == 1 ? "one " : "", join(positional_)));
  }

  // Whether a flag stands alone. Where entries disagree about a leaf's type, the value decides
  // later.
  bool is_switch(const std::string& flag) const {
    for (const Leaf& leaf : leaves_) {
      if (leaf.flag == flag) return (*leaf.node)["type"] == "bool";
    }
    return false;
  }
  bool is_path(const std::string& key) const {
    return std::any_of(leaves_.begin(), leaves_.end(),
                       [&](const Leaf& l) { return l.path == key; });
  }

  const Call& call_;
  const std::vector<Leaf>& leaves_;
  const std::vector<std::string>& positional_;
};

}  // namespace

const std::string& CommandWord::needed_value() const {
  if (has_value) return value;
  throw Error(ErrorKind::usage, str(key, " needs a value"), "",
              str("write ", key, "=VALUE if the value starts with --"));
}

std::vector<CommandWord> command_words(const Call& call, const std::vector<Leaf>& leaves,
                                       const std::vector<std::string>& positional) {
  return Splitter(call, leaves, positional).split();
}

}  // namespace smidgen
