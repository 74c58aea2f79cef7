// Maps and scalars of a merge recipe, with the place of every mistake.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/yaml.h"

namespace smidgen {

// What is common to the reading of one document.
struct RecipeReading {
  std::string file;
  bool strict = false;               // unknown keys are errors
  std::vector<std::string> ignored;  // "KEY (FILE:LINE:COLUMN)" of what has no effect

  // Throws usage when strict.
  void ignore(const std::string& key, const std::string& place, std::string_view what);
};

// The keys of a map. An unknown one near a known one is an error, another is ignored and recorded.
class RecipeMap {
 public:
  // `what` names the map in errors, as in "a slice".
  RecipeMap(const YamlNode& node, std::string what, const std::vector<std::string>& known,
            RecipeReading& reading);

  // Null where the key is absent or has no value, which mean the same to mergekit.
  const YamlNode* find(std::string_view key) const;
  const YamlNode& need(std::string_view key) const;  // throws usage

  std::string place() const { return node_.place(reading_.file); }
  RecipeReading& reading() const { return reading_; }

 private:
  const YamlNode& node_;
  std::string what_;
  RecipeReading& reading_;
};

// YAML 1.1's `<<: *anchor` (a map, or a list of maps) in every map below: keys of its own win, then
// those of the first map in the list.
void expand_merge_keys(YamlNode& node, const std::string& file);

[[noreturn]] void bad_value(const YamlNode& node, const RecipeReading& reading,
                            const std::string& message, const std::string& hint = {});
const std::vector<YamlNode>& list_of(const YamlNode& node, const RecipeReading& reading,
                                     const std::string& what);
std::string text_of(const YamlNode& node, const RecipeReading& reading, const std::string& what);
int64_t whole_of(const YamlNode& node, const RecipeReading& reading, const std::string& what);
bool flag_of(const YamlNode& node, const RecipeReading& reading, const std::string& what);

// A decimal number as Python's float() reads it: "1e-3", ".5", "+2". Nothing for other text and for
// a leading zero such as 010, which YAML 1.1 takes for octal. Throws for NaN, infinities and what
// does not fit a double.
std::optional<double> number_in(const std::string& text, const std::string& place);
// true, yes, on, y, t and their opposites, in any case.
std::optional<bool> flag_in(const std::string& text);

}  // namespace smidgen
