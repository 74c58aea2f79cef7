// smidgen combine: LoRA adapters into one, without their base.
#include "smidgen/delta/adapters/combine.h"

#include <algorithm>
#include <cmath>

#include "smidgen/base/log.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/adapters/combination.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

struct CombineConfig {
  std::vector<std::string> adapter;
  fs::path out;
  std::string type = "cat";
  std::optional<double> density;
  std::string majority_sign = "total";
  std::optional<int64_t> rank;
  std::optional<double> clamp;
  int64_t seed = 0;
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, CombineConfig& c) {
  v("adapter", c.adapter,
    {.help = "Adapters and their weights: PATH or PATH:WEIGHT; folders of PEFT or mlx-lm",
     .required = true});
  v("out", c.out, {.help = "Folder to write; it must be new or empty", .required = true});
  v.choice("type", c.type, combination_names(),
           {.help = "How: cat is exact, svd the best at a rank; the others drop elements or elect "
                    "signs, over the factors or (..._svd) over the updates",
            .was = {"combination_type", "combination"}});
  v("density", c.density,
    {.help = "Share of the elements that magnitude_prune, ties and dare keep", .min = 0, .max = 1});
  v.choice(
      "majority_sign", c.majority_sign, {"total", "frequency"},
      {.help = "What the types of ties let decide a sign: the sum of the values, or their number",
       .was = {"majority_sign_method"}});
  v("rank", c.rank,
    {.help =
         "Rank of svd and the types of ..._svd; a module's largest among the adapters without it",
     .min = 1,
     .max = 65536,
     .was = {"svd_rank"}});
  v("clamp", c.clamp,
    {.help = "Quantile of their factors' elements that svd and the types of ..._svd cut at",
     .min = 0,
     .max = 1,
     .was = {"svd_clamp"}});
  v("seed", c.seed, {.help = "Of what the types of dare drop", .min = 0});
  v("allow_config_key", c.allow_config_key,
    {.help = "Keys of adapter_config.json that are let through unread"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Combine adapters that were trained on different bases"});
}

void run_combine(const Invocation& invocation) {
  const auto config = read_config<CombineConfig>(invocation.recipe.values);
  CombineOptions options{.type = config.type,
                         .density = config.density,
                         .rank = config.rank,
                         .clamp = config.clamp,
                         .allow_other_base = config.allow_other_base};
  // At their defaults these two say nothing where the type has no use for them.
  if (config.majority_sign != "total") options.sign = config.majority_sign;
  if (config.seed != 0 || find_combination(config.type).random())
    options.seed = static_cast<uint64_t>(config.seed);
  std::vector<std::unique_ptr<LoraFile>> files;
  std::vector<WeightedAdapter> adapters;
  for (const std::string& text : config.adapter) {
    const AdapterChoice choice = parse_adapter(text);
    files.push_back(std::make_unique<LoraFile>(choice.path, config.allow_config_key));
    adapters.push_back({files.back().get(), choice.scale});
  }
  Json result = combine_adapters(adapters, options, config.out);
  result["out"] = config.out.string();
  if (invocation.output.json) return print_json(result);
  std::string error;
  if (!result["error"].is_null()) {
    const auto share = result["error"].get<double>();
    error = share < 1e-6 ? ", equal to the weighted sum"
                         : str(", ", std::round(share * 1e5) / 1e3, " % off the sum");
  }
  log_line("wrote ", config.out.string(), ": ", counted(result["modules"].get<int64_t>(), "module"),
           ", rank ", result["rank"].dump(), error);
}

}  // namespace

CoreVerb combine_verb() {
  return {"combine",
          "Combine LoRA adapters into one, without their base",
          Json::array({Json::array({"smidgen combine --adapter a/adapter:0.7 --adapter "
                                    "b/adapter:0.3 --out both",
                                    "the weighted sum, exactly"}),
                       Json::array({"smidgen combine --adapter a/adapter,b/adapter --type svd "
                                    "--rank 8 --out both",
                                    "the nearest adapter of rank 8"}),
                       Json::array({"smidgen combine --adapter a/adapter,b/adapter --type ties_svd "
                                    "--density 0.3 --out both",
                                    "TIES over the updates"})}),
          [] { return describe<CombineConfig>(); },
          run_combine,
          ""};
}

}  // namespace smidgen
