// Help and shell completion, both made from the schema document.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct HelpStyle {
  int width = 80;
  bool colour = false;
};

// The verbs with their summaries.
std::string overview_text(const Json& document, const HelpStyle& style);

// Usage, options by group, defaults and ranges, the chosen entries' own options, examples.
// `chosen` maps the path of a oneof to the entry whose options are shown (see chosen_entries).
std::string help_text(const Json& document, const std::string& verb,
                      const std::map<std::string, std::string>& chosen, const HelpStyle& style);

// A script for bash, zsh or fish; anything else is a usage error.
std::string completion_script(const Json& document, const std::string& shell);

}  // namespace smidgen
