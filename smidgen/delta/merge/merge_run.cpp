#include "smidgen/delta/merge/merge_run.h"

#include <chrono>
#include <map>
#include <optional>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/merge_folder.h"
#include "smidgen/delta/merge/merge_verify.h"
#include "smidgen/delta/merge/moe_run.h"
#include "smidgen/delta/merge/narrow.h"
#include "smidgen/delta/merge/output_formats.h"
#include "smidgen/delta/merge/recipe.h"
#include "smidgen/delta/merge/result_tokenizer.h"
#include "smidgen/delta/merge/statistics_files.h"

namespace smidgen {

namespace {

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

class Stages {
 public:
  Stages(const MergeRun& run, std::vector<MergeRecipe> recipes, std::string text)
      : run_(run), recipes_(std::move(recipes)), text_(std::move(text)) {}

  Json all() {
    Json done = Json::array();
    const std::vector<size_t> order = stage_order(recipes_);
    for (const size_t i : order) {
      const fs::path out = i == order.back() ? run_.out : place_of(recipes_[i].name);
      done.push_back(one(recipes_[i], out));
      if (!recipes_[i].name.empty()) made_[recipes_[i].name] = out.string();
    }
    return {{"stages", done}};
  }

 private:
  fs::path place_of(const std::string& name) const {
    const fs::path out = run_.out.filename().empty() ? run_.out.parent_path() : run_.out;
    return fs::path(out.string() + ".stages") / name;
  }

  Json one(const MergeRecipe& recipe, const fs::path& out) {
    const double begin = now();
    const auto open = [&](const ModelRef& model) { return open_model_of(model, out); };
    std::vector<std::shared_ptr<const Source>> given;
    for (const ModelRef& model : models_of(recipe)) given.push_back(open(model));
    const ResultTokenizer tokenizer = choose_tokenizer(
        recipe, given,
        {.open = open, .truncate = run_.unsafe_truncate_embeddings, .dry = run_.dry_run});
    note(tokenizer.notes);
    const std::vector<std::shared_ptr<const Source>>& sources = tokenizer.models;
    std::vector<ModelTensors> models;
    for (const auto& source : sources) models.push_back({source->label(), source->tensors()});
    MergePlan plan = plan_merge(recipe, merge_methods(), models);
    note(plan.notes);
    const uint64_t seed = run_.seed >= 0 ? static_cast<uint64_t>(run_.seed) : recipe.seed;
    for (PlannedTensor& tensor : plan.tensors) tensor.task.seed = seed;
    if (recipe.as_mergekit) compute_as_mergekit(plan, sources, recipe.dtype);
    open_statistics(plan, sources);
    check_values(plan);
    vocabulary_rows(plan, tokenizer);  // throws where it has no single size
    MergeFolderOptions options{
        .tokenizer = &tokenizer, .digests = run_.digests, .recipe_text = text_};
    options.merge.formats =
        output_formats(plan, sources, recipe.out_dtype ? recipe.out_dtype : recipe.dtype);
    options.merge.shard_bytes = static_cast<uint64_t>(int64_t{run_.shard_size});
    options.merge.statistics = run_.statistics;
    options.merge.passes = run_.passes;
    const int64_t bytes = bytes_of(plan, options.merge.formats);
    const MergeLaw law =
        run_.verify ? law_of(plan, given, sources, options.merge.formats) : MergeLaw();
    if (law.model) require_logits(*sources[*law.model]);
    Json result = {{"name", recipe.name}};
    if (run_.dry_run) {
      check_new_folder(out);
      result.update(
          {{"out", out.string()}, {"method", plan.method}, {"tensors", plan.tensors.size()}});
    } else {
      std::optional<Progress> progress;
      if (!run_.quiet) progress.emplace("merge", bytes);
      options.merge.wrote = [&](int64_t written) {
        if (!progress) return;
        const double rate = static_cast<double>(written) / std::max(1e-3, now() - begin);
        progress->update(
            written, {{"bytes_per_s", rate, str(bytes_text(static_cast<int64_t>(rate)), "/s")}});
      };
      result.update(merge_into_folder(plan, sources, out, options));
    }
    if (run_.verify) result["verify"] = verified(law, sources, out);
    const double seconds = now() - begin;
    result["bytes"] = bytes;
    result["seconds"] = seconds;
    result["bytes_per_second"] = static_cast<double>(bytes) / std::max(1e-3, seconds);
    return result;
  }

  void note(const std::vector<std::string>& notes) const {
    if (run_.quiet) return;
    for (const std::string& line : notes) log_line(line);
  }

  Json verified(const MergeLaw& law, const std::vector<std::shared_ptr<const Source>>& sources,
                const fs::path& out) const {
    if (!law.model) return {{"model", nullptr}, {"why", law.why}};
    const Source& model = *sources[*law.model];
    if (run_.dry_run) return {{"model", model.label()}};
    return verify_merge(model, law.lossless, run_.allow_other_base, out);
  }

  std::shared_ptr<const Source> open_model_of(const ModelRef& model, const fs::path& out) const {
    ModelRef ref = model;
    // The result of an earlier document may have an adapter put on it too.
    if (const auto made = made_.find(model.path); made != made_.end()) ref.path = made->second;
    const std::string spec = ref.text();
    require_outside(spec, out);
    return open_source(spec, run_.allow_other_base);
  }

  static int64_t bytes_of(const MergePlan& plan, const std::vector<Format>& formats) {
    int64_t sum = 0;
    for (size_t i = 0; i < formats.size(); ++i)
      sum += packed_bytes(formats[i], plan.tensors[i].task.shape).value_or(0);
    return sum;
  }

  // What a method refuses is found before anything is written.
  static void check_values(const MergePlan& plan) {
    const MergeMethod& method = merge_methods().find(plan.method);
    for (const PlannedTensor& tensor : plan.tensors) {
      if (tensor.action == PlannedTensor::Action::merge) method.start(tensor.task);
    }
  }

  const MergeRun& run_;
  std::vector<MergeRecipe> recipes_;
  std::string text_;
  std::map<std::string, std::string> made_;  // documents by name
};

}  // namespace

void require_outside(const std::string& model, const fs::path& out) {
  const fs::path inside = fs::absolute(out).lexically_normal().lexically_relative(
      fs::absolute(model).lexically_normal());
  if (inside.empty() || inside.begin()->string() == "..") return;
  throw Error(ErrorKind::usage, str("the result would lie in the model ", model), out.string(),
              "choose a folder beside it");
}

Json run_merge(const MergeRun& run) {
  return run_merge(run, read_file(run.config));
}

Json run_merge(const MergeRun& run, const std::string& text) {
  if (const auto experts = parse_moe_recipe(text, run.config.string(), run.strict)) {
    Json result = run_moe(run, *experts, text);
    if (run.verify)
      result["stages"].back()["verify"] = {{"model", nullptr}, {"why", "experts are assembled"}};
    return result;
  }
  Stages stages(run, parse_merge_recipes(text, run.config.string(), run.strict), text);
  return stages.all();
}

}  // namespace smidgen
