#include "smidgen/base/schema.h"

#include "smidgen/base/cpu.h"
#include "smidgen/base/fs.h"
#include "smidgen/base/recipe.h"
#include "smidgen/cli/command.h"
#include "smidgen/cli/core_library.h"

namespace smidgen {
namespace {

struct SchemaConfig {
  std::string verb;
  bool live = false;
  std::filesystem::path out;
};
template <class V>
void fields(V& v, SchemaConfig& c) {
  v("verb", c.verb,
    {.help = "Verb whose recipes to describe as JSON Schema; none prints all fields of all verbs"});
  v("live", c.live,
    {.help = "Ask the core library instead of the stored schema.json; checks it too"});
  v("out", c.out, {.help = "File to write instead of standard output"});
}

Json live_schema(int threads) {
  set_core_environment(threads);
  Json json = load_core().schema();
  check_document(json);
  return json;
}

void run_schema(const Invocation& invocation) {
  const auto config = read_config<SchemaConfig>(invocation.recipe.values);
  Json json = config.live ? live_schema(invocation.threads) : document();
  if (!config.verb.empty()) json = json_schema(json, config.verb);
  const std::string text = json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (config.out.empty()) return print_text(text);
  write_file(config.out, text);
}

const VerbEntry kSchema([] {
  return Verb{"schema",
              "Print the fields of the verbs, or a JSON Schema for an editor",
              describe<SchemaConfig>(),
              "verb",
              Json::array({Json::array({"smidgen schema tune --out tune.schema.json",
                                        "lets an editor complete and check recipes"})}),
              run_schema};
});

}  // namespace
}  // namespace smidgen
