// smidgen export: base and adapters as one plain model folder.
#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/cli/core/model_config.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/methods/merge.h"

namespace smidgen {

namespace {

struct ExportConfig {
  ModelChoice model;
  fs::path out;
  std::string dtype_out = "native";
  Size shard_size{5'000'000'000};
};

template <class V>
void fields(V& v, ExportConfig& c) {
  fields(v, c.model);
  v("out", c.out, {.help = "Folder to write; it must be new or empty", .required = true});
  v.choice("dtype_out", c.dtype_out, {"native", "fp32", "bf16", "fp16"},
           {.help = "Format of the weights; native is that of the files, fp32 for block formats"});
  v("shard_size", c.shard_size, {.help = "Largest weight file", .min = 1});
}

void run_export(const Invocation& invocation) {
  const auto config = read_config<ExportConfig>(invocation.recipe.values);
  check_new_folder(config.out);
  // Sums in fp32; rounded once, when written.
  LoadedModel loaded = open_detached(
      config.model,
      {.dtype = "fp32", .base_format = config.dtype_out == "native" ? "native" : "fp32"});
  std::vector<const Adapter*> adapters;
  for (const auto& adapter : loaded.adapters) adapters.push_back(adapter.get());
  if (!adapters.empty()) merge(*loaded.model, adapters, std::vector<double>(adapters.size(), 1.0));
  write_hf_folder(*loaded.model, loaded.files, config.out,
                  {.dtype = config.dtype_out, .shard_bytes = config.shard_size});
  if (invocation.output.json) {
    print_json({{"out", config.out.string()}, {"adapters", adapters.size()}});
  } else {
    log_line("wrote ", config.out.string());
  }
}

}  // namespace

CoreVerb export_verb() {
  return {"export",
          "Merge an adapter into its base",
          Json::array(
              {Json::array({"smidgen export --model model.gguf --adapter run/adapter --out merged",
                            "a folder that transformers opens"}),
               Json::array({"smidgen export --model model.gguf --out plain --dtype-out bf16",
                            "a GGUF file as a folder"})}),
          [] { return describe<ExportConfig>(); },
          run_export,
          ""};
}

}  // namespace smidgen
