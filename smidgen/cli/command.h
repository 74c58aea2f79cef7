// What a verb that needs no torch is. A verb is one file: a VerbEntry with its config's field list
// and what it does.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core_api.h"

namespace smidgen {

struct Verb {
  std::string name, summary;
  Json fields = Json::array();
  std::string positional = {};    // the fields that bare words set
  Json examples = Json::array();  // [command, remark]
  void (*run)(const Invocation&) = nullptr;
};

// Makes a verb known by being a global variable of the verb's file.
class VerbEntry {
 public:
  explicit VerbEntry(Verb (*make)());
};

std::vector<Verb> own_verbs();

// The verbs of the core library, known by name even where the core was not built.
const std::vector<std::pair<std::string, std::string>>& core_verbs();

// All that can be asked for: schema.json (written by the build) and this program's own verbs.
const Json& document();

// A JSON value as one line, or the text, on stdout.
void print_json(const Json& value);
void print_text(const std::string& text);

}  // namespace smidgen
