#include "smidgen/delta/merge/merge_verify.h"

#include <algorithm>
#include <unordered_set>

#include "smidgen/base/error.h"
#include "smidgen/convert/verify.h"
#include "smidgen/delta/merge/layers.h"
#include "smidgen/methods/merge.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

// What a model computes does not depend on these.
Json without_names(Json config) {
  for (const char* key : {"_name_or_path", "transformers_version", "dtype", "torch_dtype",
                          "tie_word_embeddings", "architectures", "use_cache"})
    config.erase(key);
  return config;
}

bool keeps(Format stored, Format arithmetic, Format written) {
  const auto holds = [&](Format format) {
    return format == stored || format == Format::f64 ||
           (format == Format::f32 && stored != Format::f64);
  };
  return holds(arithmetic) && holds(written);
}

bool same_name(const std::string& result, const std::string& input) {
  if (result == input) return true;
  const std::vector<std::string> tied = tied_names(result);
  return std::find(tied.begin(), tied.end(), input) != tied.end();
}

}  // namespace

MergeLaw law_of(const MergePlan& plan, const std::vector<std::shared_ptr<const Source>>& given,
                const std::vector<std::shared_ptr<const Source>>& sources,
                const std::vector<Format>& formats) {
  const MergeMethod& method = merge_methods().find(plan.method);
  MergeLaw law{.lossless = true};
  const auto none = [&](const auto&... why) { return MergeLaw{.why = str(why...)}; };
  std::unordered_set<std::string> used;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    const MergeTask& task = planned.task;
    std::optional<size_t> from = 0;
    if (planned.action == PlannedTensor::Action::merge) from = method.same_as(task);
    if (!from) return none(task.tensor, " is made of several models, or scaled");
    const PlannedInput& input = planned.inputs.at(*from);
    // Equal in all models, whichever it is taken from.
    if (planned.action == PlannedTensor::Action::copy_if_equal) continue;
    if (!law.model) law.model = input.model;
    if (*law.model != input.model)
      return none(task.tensor, " is that of '", sources[input.model]->label(),
                  "', and others are those of '", sources[*law.model]->label(), "'");
    if (!same_name(task.tensor, input.tensor))
      return none(task.tensor, " is ", input.tensor, " of '", sources[input.model]->label(), "'");
    used.insert(input.tensor);
    const SourceTensor* stored = sources[input.model]->find(input.tensor);
    SMIDGEN_ASSERT(stored);
    law.lossless = law.lossless && keeps(stored->stored, task.arithmetic, formats.at(i));
  }
  if (!law.model) return none("nothing is merged");
  const Source& model = *sources[*law.model];
  if (given[*law.model] != sources[*law.model])
    return none("the vocabulary of '", model.label(), "' is changed");
  for (const SourceTensor& tensor : model.tensors()) {
    if (info(tensor.stored).floating && !used.contains(tensor.name) && !is_recomputed(tensor.name))
      return none(tensor.name, " of '", model.label(), "' is left out");
  }
  if (without_names(model.config()) != without_names(sources[plan.donor]->config()))
    return none("all tensors are those of '", model.label(),
                "', and the configuration is that of '", sources[plan.donor]->label(), "'");
  return law;
}

void require_logits(const Source& model) {
  if (model.files()) load_model(*model.files(), {.planned = true});
}

Json verify_merge(const Source& model, bool lossless, bool allow_other_base, const fs::path& out) {
  const LoadOptions stored{.dtype = "fp32", .base_format = "stored"};
  ModelChoice choice;
  choice.model = model.label();
  choice.allow_other_base = allow_other_base;
  LoadedModel loaded = open_detached(choice, stored);
  if (!loaded.mix.empty()) merge(*loaded.model, *loaded.adapters, loaded.mix);
  const Verification v = verify(*loaded.model, loaded.files, out, lossless);
  Json figures = v.to_json();
  figures["model"] = model.label();
  const fs::path sidecar = out / "smidgen.json";
  Json all = path_exists(sidecar) ? Json::parse(read_file(sidecar)) : Json::object();
  all["verify"] = figures;
  write_file(sidecar, all.dump(2) + "\n");
  require_equal(v, out);
  return figures;
}

}  // namespace smidgen
