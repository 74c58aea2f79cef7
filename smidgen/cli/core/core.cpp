// The one symbol that the command looks up, the table of verbs, and the schema document that help
// and flags are made from.
#include <ATen/Parallel.h>

#include "smidgen/base/console.h"
#include "smidgen/base/error.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/str.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/train/registries.h"

namespace smidgen {

namespace {

const std::vector<CoreVerb>& verbs() {
  static const std::vector<CoreVerb> table = {tune_verb(),  generate_verb(), chat_verb(),
                                              eval_verb(),  forward_verb(),  export_verb(),
                                              bench_verb(), plan_verb(),     merge_verb()};
  return table;
}

Json schema_document() {
  Json all = Json::object();
  for (const CoreVerb& verb : verbs()) {
    Json& entry = all[verb.name] = {
        {"summary", verb.summary}, {"fields", verb.describe()}, {"examples", verb.examples}};
    if (!verb.positional.empty()) entry["positional"] = verb.positional;
  }
  Json document = {{"verbs", std::move(all)}, {"registries", registries()}};
  check_document(document);
  return document;
}

void run_verb(const Invocation& invocation) {
  // base/threads counts torch's threads, so this sets both.
  at::set_num_threads(invocation.threads);
  // The console of this library is the command's own: both link libsmidgen.so.
  for (const CoreVerb& verb : verbs()) {
    if (verb.name == invocation.verb) return verb.run(invocation);
  }
  throw Error(ErrorKind::usage, str("the core library has no verb '", invocation.verb, "'"));
}

constexpr CoreApi kApi = {.version = CoreApi::kVersion, .schema = schema_document, .run = run_verb};

}  // namespace

void print_json(const Json& value) {
  console().print(value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace smidgen

extern "C" const smidgen::CoreApi* smidgen_core_api() {
  return &smidgen::kApi;
}
