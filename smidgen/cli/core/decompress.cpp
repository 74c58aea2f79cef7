// smidgen decompress: a compressed delta as an ordinary adapter, or as the fine-tuned model.
#include "smidgen/delta/compress/decompress.h"

#include <optional>

#include "smidgen/base/log.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/merge/merge_run.h"

namespace smidgen {

namespace {

struct DecompressConfig {
  fs::path from, out;
  std::optional<std::string> base;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, DecompressConfig& c) {
  v("from", c.from, {.help = "Folder that compress wrote", .required = true});
  v("base", c.base, {.help = "Of a model's delta: the model folder that it was made from"});
  v("out", c.out, {.help = "Folder to write; it must be new or empty", .required = true});
  v("allow_other_base", c.allow_other_base,
    {.help = "Add the delta to another base than it was made from"});
}

void run_decompress(const Invocation& invocation) {
  const auto config = read_config<DecompressConfig>(invocation.recipe.values);
  require_outside(config.from.string(), config.out);
  if (config.base) require_outside(*config.base, config.out);
  const DeltaFiles delta = read_delta(config.from);
  if (config.base) {
    decompress_model(delta, *config.base, config.out, config.allow_other_base);
  } else {
    if (config.allow_other_base)
      throw Error(ErrorKind::usage, "there is no base to allow", "allow_other_base");
    decompress_adapter(delta, config.out);
  }
  if (invocation.output.json)
    return print_json({{"out", config.out.string()}, {"tensors", delta.tensors.size()}});
  log_line("wrote ", config.out.string());
}

}  // namespace

CoreVerb decompress_verb() {
  return {"decompress",
          "Make an ordinary adapter or model of what compress wrote",
          Json::array({Json::array({"smidgen decompress small --out adapter",
                                    "an adapter folder that PEFT opens"}),
                       Json::array({"smidgen decompress small --base model --out tuned",
                                    "the fine-tuned model"})}),
          [] { return describe<DecompressConfig>(); },
          run_decompress,
          "from"};
}

}  // namespace smidgen
