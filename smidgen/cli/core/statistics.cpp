// smidgen statistics: what Fisher-weighted and RegMean merging ask of a model and its data.
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/data_choice.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/convert/gguf_file.h"
#include "smidgen/eval/model_statistics.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

struct StatisticsConfig {
  ModelConfig model;
  DataChoice data;
  StatisticsKind kind = StatisticsKind::fisher;
  fs::path out;
};

template <class V>
void fields(V& v, StatisticsConfig& c) {
  fields(v, c.model);
  v.choice("kind", c.kind, {{"fisher", StatisticsKind::fisher}, {"gram", StatisticsKind::gram}},
           {.help = "fisher: mean squared gradient of each weight, for the merge method fisher; "
                    "gram: products of what each linear layer reads, for regmean",
            .required = true});
  v("out", c.out, {.help = "safetensors file to write; it must be new", .required = true});
  fields(v, c.data);
}

void run_statistics(const Invocation& invocation) {
  const auto config = read_config<StatisticsConfig>(invocation.recipe.values);
  const std::vector<fs::path> files = data_files(config.data.files);
  check_new_file(config.out);
  LoadedModel loaded = open(config.model);
  const Dataset data =
      load_dataset(files, loaded.tokenizer(), loaded.chat_template(config.data.chat_template),
                   dataset_options(config.data, *loaded.model));
  std::optional<Progress> progress;
  if (!invocation.output.json) progress.emplace(to_string(config.kind), data.tokens());
  const ModelStatistics found = measure(config.kind, *loaded.model, data,
                                        {.slot = loaded.slot,
                                         .micro_tokens = config.data.micro_tokens,
                                         .stop = [] { return stop_requested() != 0; },
                                         .progress =
                                             [&](int64_t done) {
                                               if (progress) progress->update(done);
                                             }});
  progress.reset();
  write_statistics(config.out, found);
  if (invocation.output.json) {
    print_json({{"out", config.out.string()},
                {"kind", to_string(found.kind)},
                {"tensors", found.tensors.size()},
                {"samples", found.samples},
                {"tokens", found.tokens}});
    return;
  }
  log_line("wrote ", config.out.string(), ": ", counted(found.tensors.size(), "tensor"), " over ",
           counted(found.tokens, "token"), " of ", counted(found.samples, "sample"));
}

}  // namespace

CoreVerb statistics_verb() {
  return {.name = "statistics",
          .summary = "Measure on data how much a model's weights matter, for merging",
          .examples = Json::array(
              {Json::array({"smidgen statistics --kind fisher --model model --data train.jsonl "
                            "--out fisher.safetensors",
                            "diagonal of the Fisher matrix"}),
               Json::array({"smidgen statistics --kind gram --model model --data train.jsonl "
                            "--out gram.safetensors",
                            "Gram matrices of the linear layers' inputs"})}),
          .describe = [] { return describe<StatisticsConfig>(); },
          .run = run_statistics};
}

}  // namespace smidgen
