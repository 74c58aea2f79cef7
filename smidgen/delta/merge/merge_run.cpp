#include "smidgen/delta/merge/merge_run.h"

#include <chrono>
#include <map>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/merge_folder.h"
#include "smidgen/delta/merge/output_formats.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {

namespace {

double now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

class Stages {
 public:
  Stages(const MergeRun& run, std::vector<MergeRecipe> recipes)
      : run_(run), recipes_(std::move(recipes)), text_(read_file(run.config)) {}

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
    std::vector<std::shared_ptr<const Source>> sources;
    std::vector<ModelTensors> models;
    for (const ModelRef& model : models_of(recipe)) {
      const auto made = made_.find(model.path);
      const std::string spec = made == made_.end() ? model.text() : made->second;
      require_outside(spec, out);
      sources.push_back(open_source(spec, run_.allow_other_base));
      models.push_back({spec, sources.back()->tensors()});
    }
    MergePlan plan = plan_merge(recipe, merge_methods(), models);
    for (const std::string& note : plan.notes) log_line(note);
    const uint64_t seed = run_.seed >= 0 ? static_cast<uint64_t>(run_.seed) : recipe.seed;
    for (PlannedTensor& tensor : plan.tensors) tensor.task.seed = seed;
    MergeFolderOptions options{.digests = run_.digests, .recipe_text = text_};
    options.merge.formats =
        output_formats(plan, sources, recipe.out_dtype ? recipe.out_dtype : recipe.dtype);
    options.merge.shard_bytes = static_cast<uint64_t>(int64_t{run_.shard_size});
    options.merge.statistics = run_.statistics;
    const int64_t bytes = bytes_of(plan, options.merge.formats);
    Json result = {{"name", recipe.name}};
    if (run_.dry_run) {
      check_new_folder(out);
      result.update(
          {{"out", out.string()}, {"method", plan.method}, {"tensors", plan.tensors.size()}});
    } else {
      Progress progress("merge", bytes);
      options.merge.wrote = [&](int64_t written) {
        const double rate = static_cast<double>(written) / std::max(1e-3, now() - begin);
        progress.update(written,
                        {{"bytes_per_s", rate, str(bytes_text(static_cast<int64_t>(rate)), "/s")}});
      };
      result.update(merge_into_folder(plan, sources, out, options));
    }
    const double seconds = now() - begin;
    result["bytes"] = bytes;
    result["seconds"] = seconds;
    result["bytes_per_second"] = static_cast<double>(bytes) / std::max(1e-3, seconds);
    return result;
  }

  static int64_t bytes_of(const MergePlan& plan, const std::vector<Format>& formats) {
    int64_t sum = 0;
    for (size_t i = 0; i < formats.size(); ++i)
      sum += packed_bytes(formats[i], plan.tensors[i].task.shape).value_or(0);
    return sum;
  }

  static void require_outside(const std::string& model, const fs::path& out) {
    const fs::path inside = fs::absolute(out).lexically_normal().lexically_relative(
        fs::absolute(model).lexically_normal());
    if (inside.empty() || inside.begin()->string() == "..") return;
    throw Error(ErrorKind::usage, str("the result would lie in the model ", model), out.string(),
                "choose a folder beside it");
  }

  const MergeRun& run_;
  std::vector<MergeRecipe> recipes_;
  std::string text_;
  std::map<std::string, std::string> made_;  // documents by name
};

}  // namespace

Json run_merge(const MergeRun& run) {
  Stages stages(run, read_merge_recipes(run.config.string(), run.strict));
  return stages.all();
}

}  // namespace smidgen
