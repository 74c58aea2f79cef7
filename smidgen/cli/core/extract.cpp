// smidgen extract: a LoRA adapter out of two checkpoints.
#include "smidgen/delta/adapters/extract.h"

#include <cmath>

#include "smidgen/base/log.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/nn/model.h"

namespace smidgen {

namespace {

struct ExtractConfig {
  std::string base, model;
  fs::path out;
  ExtractOptions options;
};

template <class V>
void fields(V& v, ExtractConfig& c) {
  ExtractOptions& o = c.options;
  v("base", c.base,
    {.help = "The model before: folder, GGUF file, or BASE+ADAPTER",
     .required = true,
     .was = {"base_model"}});
  v("model", c.model, {.help = "The model after, in the same forms", .required = true});
  v("out", c.out, {.help = "Adapter folder to write; it must be new or empty", .required = true});
  v("rank", o.rank,
    {.help = "Rank of the factors, at most", .min = 1, .max = 65536, .was = {"max_rank"}});
  v("sv_epsilon", o.sv_epsilon,
    {.help = "Singular values up to this are left out, so that modules may have lower ranks",
     .min = 0});
  v.choice("scale_on", o.scale_on, {{"both", ScaleOn::both}, {"a", ScaleOn::a}, {"b", ScaleOn::b}},
           {.help = "Which factor carries the singular values; both: their root on each"});
  v("embeddings", o.embeddings,
    {.help = "Embeddings and heads as factors too, not as whole copies", .was = {"embed_lora"}});
  v("modules_to_save", o.modules_to_save,
    {.help = "Modules to copy whole, by path or the end of it", .was = {"save_module"}});
  v("include", o.include,
    {.help = "Regular expressions: only modules whose path holds one", .was = {"include_regex"}});
  v("exclude", o.exclude,
    {.help = "Regular expressions: no modules whose path holds one", .was = {"exclude_regex"}});
  v("skip_whole", o.skip_whole,
    {.help = "Leave out embeddings, norms and all else that would be copied whole",
     .was = {"skip_undecomposable"}});
}

// What the base's modules are. A family that is not known leaves it to names and shapes.
std::vector<Site> sites_of(const Source& base) {
  if (!base.files()) return {};
  try {
    return load_model(*base.files(), {.dtype = "fp32", .planned = true})->sites();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    log_note("what the tensors are is taken from their names and shapes: ", error.message());
    return {};
  }
}

void run_extract(const Invocation& invocation) {
  const auto config = read_config<ExtractConfig>(invocation.recipe.values);
  const auto base = open_source(config.base), model = open_source(config.model);
  Json result = extract_lora(*base, *model, sites_of(*base), config.options, config.out);
  result["out"] = config.out.string();
  if (invocation.output.json) return print_json(result);
  log_line("wrote ", config.out.string(), ": ", counted(result["modules"].get<int64_t>(), "module"),
           ", rank ", result["rank"].dump(), ", ", result["whole"].size(), " copied whole, ",
           std::round(result["error"].get<double>() * 1e5) / 1e3, " % of the difference left out");
  if (!result["left_out"].empty())
    log_note("left out, though they differ: ", join(result["left_out"], ", ", 6));
}

}  // namespace

CoreVerb extract_verb() {
  return {"extract",
          "Extract a LoRA adapter from the difference of two models",
          Json::array({Json::array({"smidgen extract --base model --model merged --rank 16 --out "
                                    "adapter",
                                    "linear layers at rank 16, the rest whole where it changed"}),
                       Json::array({"smidgen extract --base model --model merged --sv-epsilon 1e-4 "
                                    "--skip-whole --out adapter",
                                    "only factors, each of the rank that it needs"})}),
          [] { return describe<ExtractConfig>(); },
          run_extract,
          ""};
}

}  // namespace smidgen
