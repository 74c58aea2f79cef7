// The words of a call, told apart: flags with their values, key paths with theirs, bare words.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/recipe.h"

namespace smidgen {

struct CommandWord {
  std::string key;    // "--rank", "method.rank", or empty for the recipe's file
  std::string value;  // of a bare word: the word
  bool has_value;
  bool flag;

  // Throws usage where a flag that needs a value has none.
  const std::string& needed_value() const;
};

// `leaves` and `positional` are the verb's. Throws usage for a word that cannot be any of these.
std::vector<CommandWord> command_words(const Call& call, const std::vector<Leaf>& leaves,
                                       const std::vector<std::string>& positional);

}  // namespace smidgen
