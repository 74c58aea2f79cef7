// The one symbol that the command looks up, the table of verbs, and the schema document that help
// and flags are made from.
#include <ATen/Parallel.h>

#include "smidgen/base/console.h"
#include "smidgen/base/error.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/str.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/merge/method.h"
#include "smidgen/train/registries.h"

namespace smidgen {

namespace {

const std::vector<CoreVerb>& verbs() {
  static const std::vector<CoreVerb> table = {
      tune_verb(),     plan_verb(),       generate_verb(), chat_verb(),    eval_verb(),
      forward_verb(),  export_verb(),     merge_verb(),    combine_verb(), extract_verb(),
      compress_verb(), decompress_verb(), compare_verb(),  project_verb(), diff_verb(),
      verify_verb(),   statistics_verb(), bench_verb()};
  return table;
}

// Those that train sees, and that of a room beside it.
Json all_registries() {
  Json all = registries();
  all["merge_method"] = describe_merge_methods();
  return all;
}

Json schema_document() {
  Json all = Json::object();
  for (const CoreVerb& verb : verbs()) {
    Json& entry = all[verb.name] = {
        {"summary", verb.summary}, {"fields", verb.describe()}, {"examples", verb.examples}};
    if (!verb.positional.empty()) entry["positional"] = verb.positional;
    if (verb.answer) entry["answers"] = true;
  }
  Json document = {{"verbs", std::move(all)}, {"registries", all_registries()}};
  check_document(document);
  return document;
}

int run_verb(const Invocation& invocation) {
  // base/threads counts torch's threads, so this sets both.
  at::set_num_threads(invocation.threads);
  // The console of this library is the command's own: both link libsmidgen.so.
  for (const CoreVerb& verb : verbs()) {
    if (verb.name != invocation.verb) continue;
    if (verb.answer) return verb.answer(invocation);
    verb.run(invocation);
    return 0;
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
