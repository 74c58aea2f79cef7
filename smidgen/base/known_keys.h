// The keys of a verb under the choices that a call makes, and what is said of one that is not among
// them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "smidgen/base/command_words.h"
#include "smidgen/base/recipe.h"

namespace smidgen {

struct KnownKeys {
  const std::string& verb;
  const std::vector<Leaf>& leaves;
  const std::map<std::string, std::string>& chosen;  // path of a oneof -> name of its entry

  // Whether a leaf belongs to no oneof's entry, or to a chosen one.
  bool active(const Leaf& leaf) const;

  // Throw usage, with the nearest name, the new name of an old one, or the entry that has it.
  [[noreturn]] void refuse_key(const std::string& path, const std::string& where) const;
  [[noreturn]] void refuse_word(const CommandWord& word) const;

 private:
  [[noreturn]] void belongs_elsewhere(const std::string& shown, const std::string& name,
                                      const std::string& where) const;
};

}  // namespace smidgen
