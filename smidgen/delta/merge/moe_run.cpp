#include "smidgen/delta/merge/moe_run.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/rng.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/merge_folder.h"
#include "smidgen/delta/merge/moe_gates.h"
#include "smidgen/delta/merge/output_formats.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {

namespace {

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

// The recipe's type of weights, else what the base says of its own.
std::optional<Format> format_of(const MoeRecipe& recipe, const Source& base) {
  if (recipe.dtype) return recipe.dtype;
  const Json config = base.config();
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto found = config.find(key);
    if (found == config.end()) continue;
    for (const auto& [name, format] : {std::pair{"float16", Format::f16},
                                       {"bfloat16", Format::bf16},
                                       {"float32", Format::f32},
                                       {"float64", Format::f64}}) {
      if (*found == name) return format;
    }
  }
  return std::nullopt;
}

// Every tensor of the mixture as it is.
MergePlan copies(const Source& model, uint64_t mark) {
  MergePlan plan{.method = "passthrough"};
  for (const SourceTensor& tensor : model.tensors()) {
    MergeTask task{.tensor = tensor.name,
                   .shape = tensor.shape,
                   .elements = tensor.elements(),
                   .columns = tensor.columns(),
                   .inputs = 1,
                   .seed = mark};
    plan.tensors.push_back({.action = PlannedTensor::Action::copy,
                            .task = std::move(task),
                            .inputs = {{0, tensor.name}}});
  }
  return plan;
}

void note_alike(const std::vector<int64_t>& layers, int64_t all) {
  if (layers.empty()) return;
  log_warning("the prompts of the experts are much alike in ",
              static_cast<int64_t>(layers.size()) == all ? "all layers"
                                                         : str("layers ", join(layers, ", ", 8)),
              ": some experts will hardly be used");
}

}  // namespace

Json run_moe(const MergeRun& run, const MoeRecipe& recipe, const std::string& text) {
  const double begin = now();
  if (!recipe.ignored.empty() && !run.quiet) log_line(ignored_note(recipe.ignored));
  std::vector<std::shared_ptr<const Source>> sources;
  for (const ModelRef& model : models_of(recipe)) {
    require_outside(model.text(), run.out);
    sources.push_back(open_source(model.text(), run.allow_other_base));
  }
  const uint64_t seed = run.seed >= 0 ? static_cast<uint64_t>(run.seed) : recipe.seed;
  const auto model = std::make_shared<MoeModel>(recipe, sources, seed);
  const ModelRef& first = recipe.experts.front().model;
  const auto as_first = [&](const ExpertSpec& expert) {
    return expert.model == first && expert.noise == 0;
  };
  if (!run.quiet && std::all_of(recipe.experts.begin(), recipe.experts.end(), as_first))
    log_line("all experts are one model: the mixture computes what that does until it is trained");

  // What the bytes depend on beside the files.
  MergePlan plan = copies(*model, hash_name(str(seed, "\n", text)));
  MergeFolderOptions options{.digests = run.digests, .recipe_text = text};
  std::vector<std::shared_ptr<const Source>> inputs = sources;
  inputs.front() = model;
  options.merge.formats = output_formats(plan, inputs, format_of(recipe, *sources.front()));
  options.merge.shard_bytes = static_cast<uint64_t>(int64_t{run.shard_size});
  options.merge.statistics = false;
  int64_t bytes = 0;
  for (size_t i = 0; i < plan.tensors.size(); ++i)
    bytes += packed_bytes(options.merge.formats[i], plan.tensors[i].task.shape).value_or(0);
  check_new_folder(run.out);

  Json stage = {{"name", ""}};
  if (run.dry_run) {
    stage.update(Json{{"out", run.out.string()}, {"tensors", plan.tensors.size()}});
  } else {
    const at::Tensor gates =
        moe_gates(recipe, *model, {.seed = seed, .allow_other_base = run.allow_other_base});
    const std::vector<int64_t> alike = alike_layers(gates);
    if (!run.quiet) note_alike(alike, model->layers());
    model->set_gates(gates);
    std::optional<Progress> progress;
    if (!run.quiet) progress.emplace("merge", bytes);
    options.merge.wrote = [&](int64_t written) {
      if (progress) progress->update(written);
    };
    stage.update(merge_into_folder(plan, inputs, run.out, options));
    stage["alike"] = alike;
  }
  stage["method"] = "experts";
  const double seconds = now() - begin;
  stage["bytes"] = bytes;
  stage["seconds"] = seconds;
  stage["bytes_per_second"] = static_cast<double>(bytes) / std::max(1e-3, seconds);
  return {{"stages", Json::array({stage})}};
}

}  // namespace smidgen
