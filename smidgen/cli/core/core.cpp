// The one symbol that the command looks up, the table of verbs, and the schema document that help
// and flags are made from.
#include <ATen/Parallel.h>

#include "smidgen/base/console.h"
#include "smidgen/base/recipe.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/methods/registry.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/train/budgets/registry.h"
#include "smidgen/train/losses/registry.h"

namespace smidgen {

namespace {

const std::vector<CoreVerb>& verbs() {
  static const std::vector<CoreVerb> table = {tune_verb(), generate_verb(), chat_verb(),
                                              eval_verb(), forward_verb(),  export_verb(),
                                              bench_verb()};
  return table;
}

}  // namespace

Json registries() {
  Json method = Json::object(), family = Json::object(), format = Json::object(),
       policy = Json::object(), loss = Json::object();
  for (const auto& [name, entry] : methods().entries()) {
    method[name] = {
        {"summary", entry->summary()}, {"fields", entry->fields()}, {"source", entry->source()}};
    if (!entry->peft_type().empty()) method[name]["peft_type"] = entry->peft_type();
  }
  for (const auto& [name, entry] : families().entries()) {
    family[name] = {{"summary", entry->summary()},
                    {"fields", Json::array()},
                    {"model_types", entry->model_types()}};
  }
  for (const auto& [name, entry] : weight_formats().entries()) {
    format[name] = {{"summary", std::string(entry->summary())}, {"fields", Json::array()}};
  }
  for (const auto& [name, entry] : budgets().entries()) {
    policy[name] = {
        {"summary", entry->summary()}, {"fields", entry->fields()}, {"source", entry->source()}};
  }
  for (const auto& [name, entry] : losses().entries()) {
    loss[name] = {{"summary", entry->summary()},
                  {"fields", entry->fields()},
                  {"source", entry->source()},
                  {"data", to_string(entry->form())}};
  }
  return {{"method", method},
          {"family", family},
          {"format", format},
          {"policy", policy},
          {"loss", loss}};
}

namespace {

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
