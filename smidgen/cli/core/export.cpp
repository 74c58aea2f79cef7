// smidgen export: base and adapters as one plain model, or an adapter in another layout.
#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/convert/gguf_adapter.h"
#include "smidgen/convert/gguf_file.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/convert/verify.h"
#include "smidgen/methods/merge.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

struct ExportConfig {
  ModelChoice model;
  fs::path out;
  std::string format = "auto";
  std::string dtype_out = "native";
  Size shard_size{5'000'000'000};
  bool verify = false;
};

template <class V>
void fields(V& v, ExportConfig& c) {
  fields(v, c.model);
  v("out", c.out,
    {.help = "Folder or GGUF file to write; it must be new or empty", .required = true});
  v.choice(
      "format", c.format, {"auto", "hf", "gguf", "gguf-lora", "peft"},
      {.help =
           "hf: a model folder; gguf: a model file; gguf-lora: the adapters alone, as a GGUF "
           "file; peft: the one adapter, as a folder; auto: gguf where the name ends so, else hf"});
  v.choice("dtype_out", c.dtype_out, {"native", "fp32", "bf16", "fp16", "q8_0", "q4_0", "q4_1"},
           {.help = "Format of the weights; native is that of the files, fp32 for block formats; "
                    "q8_0, q4_0 and q4_1 are for GGUF"});
  v("shard_size", c.shard_size, {.help = "Largest weight file of a folder", .min = 1});
  v("verify", c.verify,
    {.help = "Open what was written, compare its logits with those of the model it came from, and "
             "write the difference beside it"});
}

// The model stays in its file. Sums are in fp32 and rounded once, when written.
const LoadOptions kStored{.dtype = "fp32", .base_format = "stored"};

// Where the result of --verify is kept.
fs::path report_path(const fs::path& out, bool folder) {
  return folder ? out / "smidgen.json" : fs::path(out.string() + ".json");
}

Json verified(const ExportConfig& config, const LoadedModel& loaded, bool folder) {
  // Every value is written as it is, unless it is rounded to another format or is a merged sum.
  const bool lossless =
      config.dtype_out == "fp32" || (config.dtype_out == "native" && loaded.mix.empty());
  const Verification v = verify(*loaded.model, loaded.files, config.out, lossless);
  write_file(report_path(config.out, folder), Json{{"verify", v.to_json()}}.dump(2) + "\n");
  require_equal(v, config.out);
  return v.to_json();
}

void export_adapter(const ExportConfig& config) {
  if (config.verify)
    throw Error(ErrorKind::usage, "an adapter alone has no logits to compare", "--verify",
                "leave it out, or write a model: --format gguf");
  const bool peft = config.format == "peft";
  if (!peft) check_new_file(config.out);
  const LoadedModel loaded = open_detached(config.model, kStored);
  if (loaded.mix.empty())
    throw Error(ErrorKind::usage, "there is no adapter to write", "--adapter");
  if (peft) {
    if (loaded.mix.size() != 1 || loaded.mix.front().scale != 1)
      throw Error(ErrorKind::unsupported,
                  "scaled or summed adapters cannot be written as one PEFT folder", "--format peft",
                  "give one --adapter at scale 1, or write a model");
    const Adapter& adapter = loaded.adapters->find(loaded.mix.front().name);
    if (adapter.method().peft_type().starts_with("SMIDGEN_")) {
      throw Error(
          ErrorKind::unsupported,
          str("PEFT has no ", adapter.method_name(), " adapters, and refuses their folders"),
          "--format peft", "use the folder as it is with smidgen");
    }
    return adapter.save(config.out, /*base=*/"", adapter.sidecar());
  }
  const Combined sums = combine(*loaded.model, *loaded.adapters, loaded.mix);
  if (!sums.biases.empty()) {
    throw Error(ErrorKind::unsupported, "a GGUF adapter has no place for trained biases",
                sums.biases.begin()->first, "merge it into the base: --format gguf");
  }
  write_gguf_adapter(*loaded.model, sums.weights, config.out, config.dtype_out);
}

Json export_model(const ExportConfig& config, bool folder) {
  folder ? check_new_folder(config.out) : check_new_file(config.out);
  LoadedModel loaded = open_detached(config.model, kStored);
  if (!loaded.mix.empty()) merge(*loaded.model, *loaded.adapters, loaded.mix);
  if (folder) {
    write_hf_folder(*loaded.model, loaded.files, config.out,
                    {.dtype = config.dtype_out, .shard_bytes = config.shard_size});
  } else {
    write_gguf_file(*loaded.model, loaded.files, config.out, {.dtype = config.dtype_out});
  }
  Json result = {{"out", config.out.string()}, {"adapters", loaded.mix.size()}};
  if (config.verify) result["verify"] = verified(config, loaded, folder);
  return result;
}

void run_export(const Invocation& invocation) {
  const auto config = read_config<ExportConfig>(invocation.recipe.values);
  Json result = {{"out", config.out.string()}};
  if (config.format == "gguf-lora" || config.format == "peft") {
    export_adapter(config);
  } else {
    const bool gguf =
        config.format == "gguf" || (config.format == "auto" && config.out.extension() == ".gguf");
    result = export_model(config, !gguf);
  }
  if (invocation.output.json) return print_json(result);
  log_line("wrote ", config.out.string());
  if (!result.contains("verify")) return;
  const Json& v = result["verify"];
  log_line("verified over ", v["positions"].dump(), " positions: logits differ by ",
           v["max_abs"].dump(), " at most (relative ", v["relative"].dump(), "), mean KL ",
           v["mean_kl"].dump(), ", same first token ", v["same_top"].dump());
}

}  // namespace

CoreVerb export_verb() {
  return {"export",
          "Merge an adapter into its base, and write models and adapters in other layouts",
          Json::array(
              {Json::array({"smidgen export --model model.gguf --adapter run/adapter --out merged",
                            "a folder that transformers opens"}),
               Json::array({"smidgen export --model model --adapter run/adapter --out merged.gguf "
                            "--dtype-out q8_0 --verify",
                            "a GGUF file for llama.cpp"}),
               Json::array({"smidgen export --model model --adapter run/adapter --format gguf-lora "
                            "--out adapter.gguf",
                            "the adapter alone, for llama.cpp"})}),
          [] { return describe<ExportConfig>(); },
          run_export,
          ""};
}

}  // namespace smidgen
