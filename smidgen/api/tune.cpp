#include "smidgen/train/tune.h"

#include <charconv>

#include <ATen/Parallel.h>

#include "smidgen/api/guard.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/schema.h"
#include "smidgen/smidgen.h"
#include "smidgen/train/registries.h"

namespace smidgen::api {
namespace {

const Json& document() {
  static const Json all = {{"verbs", {{"tune", {{"summary", ""}, {"fields", tune_fields()}}}}},
                           {"registries", registries()}};
  return all;
}

std::optional<double> number_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

}  // namespace

struct RecipeReader {
  static TuneCall call(const Recipe& recipe) {
    // The environment is the program's, not ours.
    Call request{"tune", {}, [](const std::string&) { return std::nullopt; }, recipe.text_};
    if (!recipe.file_.empty()) request.words = {"--recipe", recipe.file_};
    for (const auto& [key, value] : recipe.settings_) request.words.push_back(str(key, "=", value));
    TuneCall made{resolve(document(), request), {}, at::get_num_threads()};
    if (const Json& threads = made.recipe.common["threads"]; !threads.is_null()) {
      throw Error(ErrorKind::usage, "threads is the process's, not a run's",
                  made.recipe.where("threads"), "call smidgen::api::set_threads");
    }
    made.recipe.common["threads"] = made.threads;
    made.yaml = to_yaml(document(), made.recipe);
    return made;
  }
};

Recipe Recipe::from_text(std::string yaml) {
  Recipe recipe;
  recipe.text_ = std::move(yaml);
  return recipe;
}

Recipe Recipe::from_file(const std::string& path) {
  Recipe recipe;
  recipe.file_ = path;
  return recipe;
}

Recipe& Recipe::set(std::string key, std::string value) {
  settings_.emplace_back(std::move(key), std::move(value));
  return *this;
}

Recipe& Recipe::set(std::string key, double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return set(std::move(key), std::string(text, end));
}

TuneResult tune(const Recipe& recipe, const TuneOptions& options) {
  Callback callback;
  TuneResult result;
  try {
    guarded([&] {
      TuneHooks hooks;
      hooks.stop = [&] { return callback.stopped(); };
      hooks.step = [&](const StepRecord& r, int64_t total) {
        result.steps = r.step;
        if (!options.on_step) return;
        const TuneStep step{r.step,      total,          r.loss,     r.learning_rate,
                            r.grad_norm, r.tokens_per_s, r.eval_loss};
        (void)callback.go_on([&] { return options.on_step(step); });
      };
      const Json summary = smidgen::tune(RecipeReader::call(recipe), hooks).summary;
      if (summary.is_null()) return;  // a dry run
      result.steps = summary.value("steps", int64_t{0});
      result.stopped_early = summary.value("stopped_early", false);
      result.adapter = summary.value("artefact", "");
      result.report = summary.value("report", "");
      if (const auto held_out = summary.find("held_out"); held_out != summary.end()) {
        result.held_out_before = number_at(*held_out, "loss_before");
        result.held_out_after = number_at(*held_out, "loss_after");
      }
    });
  } catch (const Error& error) {
    callback.rethrow();
    if (error.kind() != ErrorKind::interrupted || !callback.stopped()) throw;
    result.finished = false;
  }
  callback.rethrow();
  return result;
}

}  // namespace smidgen::api
