// What the command and libsmidgen_core.so know of each other. The command opens the library and
// calls the one function it exports; errors cross as exceptions (both sides are built by the same
// compiler).
#pragma once

#include "smidgen/base/json.h"
#include "smidgen/base/recipe.h"

namespace smidgen {

// How results and progress are shown.
struct OutputMode {
  bool json = false;      // results and progress as JSON lines on stdout
  bool quiet = false;     // results only
  bool terminal = false;  // stderr is a terminal: one live progress line
  bool colour = false;    // a terminal, and NO_COLOR is not set
};

struct Invocation {
  std::string verb;
  Resolved recipe;
  OutputMode output;
  int threads = 1;
  std::string yaml;  // the resolved recipe with origins, for the run folder
};

struct CoreApi {
  static constexpr int kVersion = 2;
  int version = kVersion;
  // {"verbs": {"tune": {"summary", "fields": describe<TuneConfig>(), "examples": [[command,
  // remark], ...], "answers": true where exit code 1 is an answer and 2 every failure}, ...},
  //  "registries": {"method": {"lora": {"summary", "fields": describe<LoraConfig>(), ...more for
  //  list}}, "format": ...}}
  Json (*schema)() = nullptr;
  // Runs a verb to its end and gives the exit code: 0, or what a verb that answers with it says
  // (see CoreVerb::answer). Throws Error; interrupted ones carry ErrorKind::interrupted.
  int (*run)(const Invocation&) = nullptr;
};

}  // namespace smidgen

extern "C" const smidgen::CoreApi* smidgen_core_api();
