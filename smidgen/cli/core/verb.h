// A verb that computes: what its file hands to the table in core.cpp.
#pragma once

#include <string>

#include "smidgen/base/json.h"
#include "smidgen/cli/core_api.h"

namespace smidgen {

struct CoreVerb {
  std::string name;
  std::string summary;  // one line
  Json examples;        // [[command, remark], ...]
  Json (*describe)() = nullptr;
  void (*run)(const Invocation&) = nullptr;
  std::string positional;  // fields that bare words set, "recipe out"; empty: one is the recipe
  // In place of `run` for a verb whose exit code is its answer, as diff's is: 0 or 1. Its failures
  // exit with 2.
  int (*answer)(const Invocation&) = nullptr;
};

CoreVerb bench_verb();
CoreVerb chat_verb();
CoreVerb combine_verb();
CoreVerb compare_verb();
CoreVerb compress_verb();
CoreVerb decompress_verb();
CoreVerb diff_verb();
CoreVerb eval_verb();
CoreVerb export_verb();
CoreVerb extract_verb();
CoreVerb forward_verb();
CoreVerb generate_verb();
CoreVerb merge_verb();
CoreVerb plan_verb();
CoreVerb project_verb();
CoreVerb statistics_verb();
CoreVerb tune_verb();
CoreVerb verify_verb();

// A plan as lines: of `plan`, and of a dry run of `tune`.
std::string plan_text(const Json& plan);

// A JSON value as one line on stdout.
void print_json(const Json& value);

}  // namespace smidgen
