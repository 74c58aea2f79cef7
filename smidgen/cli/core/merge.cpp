// smidgen merge: several models as one, by a recipe of mergekit's, and the search for its numbers.
#include <functional>
#include <iomanip>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/schema.h"
#include "smidgen/cli/core/recipe_score.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/coefficient_search.h"

namespace smidgen {

namespace {

constexpr int64_t kBudget = 100;

struct MergeConfig {
  MergeRun run;
  std::vector<std::string> search;
  std::optional<int64_t> budget;
  std::vector<std::string> choices;
  DataChoice data;
};

template <class V>
void fields(V& v, MergeConfig& c) {
  fields(v, c.run);
  v("search", c.search,
    {.help = "Look for better numbers of these parameters before merging: NAME=LOW:HIGH, as in "
             "weight=0:1.5; each number that the recipe gives them is one to find"});
  v("budget", c.budget, {.help = "Recipes that a search tries; by default 100", .min = 1});
  v("choices", c.choices,
    {.help = "Score a recipe by how often the right one of these answers is the likeliest, and not "
             "by the loss; auto: the completions of each file"});
  fields(v, c.data, /*required=*/false);
}

std::string fixed(double value) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(4) << value;
  return text.str();
}

void check_search(const MergeConfig& config) {
  const bool searches = !config.search.empty();
  if (searches && config.data.files.empty())
    throw Error(ErrorKind::usage, "a search needs data to score recipes on", "--data");
  if (searches) return;
  const auto refuse = [](const char* flag) {
    throw Error(ErrorKind::usage, "it is for --search", flag);
  };
  if (!config.data.files.empty()) refuse("--data");
  if (!config.choices.empty()) refuse("--choices");
  if (config.budget) refuse("--budget");
  refuse_data_settings(config.data, "it is for --search");
}

// The recipe with the numbers that were found, and what is told of the search.
std::pair<std::string, Json> searched(const MergeConfig& config, bool json) {
  const std::string text = read_file(config.run.config);
  std::vector<SearchRange> ranges;
  for (const std::string& range : config.search) ranges.push_back(parse_search_range(range));
  const std::vector<Coefficient> places = coefficients_of(text, config.run.config.string(), ranges);
  Json told = {{"coefficients", Json::array()}};
  for (const Coefficient& place : places)
    told["coefficients"].push_back({{"parameter", place.parameter}, {"place", place.place}});
  if (config.run.dry_run) return {text, told};
  check_new_folder(config.run.out);  // before the time of a search is spent
  const fs::path out =
      config.run.out.filename().empty() ? config.run.out.parent_path() : config.run.out;
  const fs::path folder = out.string() + ".search";
  make_folder(folder);
  const FileLock lock(folder / ".lock");
  RecipeScore score(config.run, config.data, config.choices, folder);
  const int64_t budget = config.budget.value_or(kBudget);
  std::optional<Progress> progress;
  if (!json) progress.emplace("search", budget);
  const SearchOutcome found =
      search_coefficients(text, config.run.config.string(), ranges, std::ref(score),
                          {.budget = budget,
                           .seed = static_cast<uint64_t>(std::max<int64_t>(0, config.run.seed)),
                           .state = folder / "search.json",
                           .scored = score.identity(),
                           .progress = [&](int64_t done, double now, double best) {
                             if (progress)
                               progress->update(done, {{"score", now, str("score ", fixed(now))},
                                                       {"best", best, str("best ", fixed(best))}});
                           }});
  for (size_t i = 0; i < places.size(); ++i)
    told["coefficients"][i].update({{"before", places[i].value}, {"found", found.values[i]}});
  told.update({{"first", found.first},
               {"best", found.best},
               {"scores", found.scores},
               {"kept", found.kept},
               {"state", (folder / "search.json").string()}});
  return {found.recipe, told};
}

void print_searched(const Json& told) {
  for (const Json& c : told["coefficients"]) {
    if (c.contains("found"))
      log_line("found ", c["parameter"].get<std::string>(), " ", c["found"].dump(), " in place of ",
               c["before"].dump(), " (", c["place"].get<std::string>(), ")");
  }
  if (told.contains("best"))
    log_line("score ", fixed(told["best"].get<double>()), " in place of ",
             fixed(told["first"].get<double>()), " after ",
             counted(told["scores"].get<int64_t>(), "recipe"));
}

void print_verified(const Json& v) {
  if (v["model"].is_null())
    return log_line("not verified: no law tells what the result must be, since ",
                    v["why"].get<std::string>());
  log_line("verified: it is ", v["model"].get<std::string>(), " over ", v["positions"].dump(),
           " positions: logits differ by ", v["max_abs"].dump(), " at most (relative ",
           v["relative"].dump(), "), mean KL ", v["mean_kl"].dump(), ", same first token ",
           v["same_top"].dump());
}

void run_merge(const Invocation& invocation) {
  const auto config = read_config<MergeConfig>(invocation.recipe.values);
  check_search(config);
  Json result;
  if (config.search.empty()) {
    result = run_merge(config.run);
  } else {
    const auto [recipe, told] = searched(config, invocation.output.json);
    if (!invocation.output.json) print_searched(told);
    result = run_merge(config.run, recipe);
    result["search"] = told;
  }
  if (invocation.output.json) return print_json(result);
  if (config.run.dry_run) {
    for (const Json& stage : result["stages"])
      console().print(str(stage["out"].get<std::string>(), ": ", stage["tensors"].dump(),
                          " tensors, ", bytes_text(stage["bytes"].get<int64_t>()), ", ",
                          stage["method"].get<std::string>(), "\n"));
    return;
  }
  for (const Json& stage : result["stages"])
    log_line("wrote ", stage["out"].get<std::string>(), ": ", stage["tensors"].dump(),
             " tensors in ", duration_text(stage["seconds"].get<double>()), ", ",
             bytes_text(static_cast<int64_t>(stage["bytes_per_second"].get<double>())), "/s");
  for (const Json& stage : result["stages"]) {
    if (stage.contains("verify")) print_verified(stage["verify"]);
  }
}

}  // namespace

CoreVerb merge_verb() {
  return {
      .name = "merge",
      .summary = "Merge models by a recipe, in streaming passes over their files",
      .examples = Json::array(
          {Json::array({"smidgen merge recipe.yaml merged", "recipes of mergekit run unchanged"}),
           Json::array(
               {"smidgen merge recipe.yaml merged --dry-run", "check everything, write nothing"}),
           Json::array({"smidgen merge recipe.yaml merged --search weight=0:1.5 --data "
                        "held_out.jsonl",
                        "find weights with a lower loss first"})}),
      .describe = [] { return describe<MergeConfig>(); },
      .run = run_merge,
      .positional = "config out"};
}

}  // namespace smidgen
