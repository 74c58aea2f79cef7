// smidgen project: a fine-tune seen through the directions of an alignment, and copies of it with
// or without them.
#include <functional>
#include <iomanip>
#include <optional>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/diff/subject.h"
#include "smidgen/delta/merge/merge_run.h"
#include "smidgen/delta/subspace/open_update.h"
#include "smidgen/delta/subspace/write_projected.h"
#include "smidgen/io/delta_files.h"

namespace smidgen {

namespace {

struct ProjectConfig {
  std::string tuned, aligned, base;
  std::optional<fs::path> out;
  std::string mode = "orth";
  std::string directions = "top";
  double fraction = 0.25;
  std::vector<double> fractions = standard_fractions();
  int64_t seed = 0;
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, ProjectConfig& c) {
  v("tuned", c.tuned,
    {.help = "Fine-tune of the aligned model: adapter, compressed fine-tune, model folder, GGUF "
             "file or BASE+ADAPTER",
     .required = true});
  v("aligned", c.aligned, {.help = "The model that was fine-tuned", .required = true});
  v("base", c.base, {.help = "The model that the aligned one was made from", .required = true});
  v("out", c.out,
    {.help =
         "Write the projected copy here: an adapter for an adapter, else a model folder; without "
         "it only a table is printed"});
  v.choice("mode", c.mode, {"same", "orth", "opp"},
           {.help = "Of the copy. same: what lies inside the directions; orth: the rest; opp: what "
                    "lies inside, backwards"});
  v.choice("directions", c.directions, {"top", "random_k", "random"},
           {.help = "Of the copy. top: the alignment's first left singular vectors; random_k: some "
                    "of them; random: any of the output space"});
  v("fraction", c.fraction,
    {.help = "Of the copy: directions of a matrix, as a share of its smaller side",
     .min = 0,
     .max = 1});
  v("fractions", c.fractions, {.help = "Those of the table", .min = 0, .max = 1});
  v("seed", c.seed, {.help = "Of what is drawn", .min = 0});
  v("allow_config_key", c.allow_config_key,
    {.help = "Keys of adapter_config.json that are let through unread"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Take an adapter that was trained on another model than the aligned one"});
}

// Whether the copy is an adapter: the delta of a whole model has no factors to project.
bool copies_adapter(const std::string& tuned) {
  const fs::path path = parse_adapter(tuned).path;
  return is_adapter_path(path) && !(is_delta(path) && !read_delta(path).adapter);
}

// The adapter that the copy is made of.
AdapterFiles adapter_of(const ProjectConfig& config, UpdateOpener& opener) {
  const AdapterChoice choice = parse_adapter(config.tuned);
  if (choice.scale != 1)
    throw Error(ErrorKind::usage, "a copy of an adapter has the adapter's own scale", config.tuned,
                "leave the scale out");
  for (const Site& site : opener.model().sites()) {
    if (site.transposed)
      throw Error(ErrorKind::unsupported, "the model's matrices have their outputs in the columns",
                  site.name, "merge the adapter with smidgen export and project the model");
  }
  return open_adapter(choice.path, opener.files());
}

std::string figure(double value) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(4) << std::setw(12) << value;
  return out.str();
}

void print(const Sweep& s) {
  std::string text = str("norm of the fine-tune", figure(s.update), ", of the alignment",
                         figure(s.alignment), ", cosine", figure(s.cosine), "\n");
  text += "energy inside the directions, of the fine-tune's\n";
  text += "    fraction         top    random_k      random    expected\n";
  const size_t count = s.rows.size() / 3;
  for (size_t i = 0; i < count; ++i)
    text += figure(s.rows[i].subspace.fraction) + figure(s.rows[i].parallel) +
            figure(s.rows[count + i].parallel) + figure(s.rows[2 * count + i].parallel) +
            figure(s.rows[i].expected) + "\n";
  console().print(text);
}

// Made when the first step tells how many there are.
std::function<void(int64_t, int64_t)> watch(std::optional<Progress>& progress) {
  return [&progress](int64_t done, int64_t total) {
    throw_if_stopped();
    if (!progress) progress.emplace("project", total);
    progress->update(done);
  };
}

void run_project(const Invocation& invocation) {
  const auto config = read_config<ProjectConfig>(invocation.recipe.values);
  if (config.fractions.empty())
    throw Error(ErrorKind::usage, "no fraction is given", "--fractions");
  if (config.out) {
    for (const std::string& model : {config.tuned, config.aligned, config.base})
      require_outside(model, *config.out);
    check_new_folder(*config.out);
  }
  UpdateOpener opener(config.aligned, config.allow_other_base, config.allow_config_key);
  const auto alignment =
      model_update(opener.source(), open_source(config.base, config.allow_other_base));
  const auto tuned = opener.open(config.tuned);
  const auto seed = static_cast<uint64_t>(config.seed);
  if (!config.out) {
    std::optional<Progress> progress;
    const Sweep found = sweep(*tuned, *alignment, config.fractions, seed, watch(progress));
    progress.reset();
    if (const auto& lone = found.without_alignment; !lone.empty())
      log_note(counted(lone.size(), "tensor"), " without an alignment: ", join(lone, ", ", 3));
    return invocation.output.json ? print_json(found.to_json()) : print(found);
  }
  const Subspace subspace{config.directions == "top"        ? Directions::top
                          : config.directions == "random_k" ? Directions::random_k
                                                            : Directions::random,
                          config.fraction, seed};
  const ProjectionMode mode = config.mode == "same"   ? ProjectionMode::same
                              : config.mode == "orth" ? ProjectionMode::orth
                                                      : ProjectionMode::opp;
  if (copies_adapter(config.tuned)) {
    write_projected_adapter(adapter_of(config, opener), *alignment, subspace, mode, *config.out);
  } else {
    Progress progress("project", 0);
    write_moved_model(opener.source(), projected(tuned, alignment, subspace, mode), *config.out,
                      [&](int64_t bytes) {
                        throw_if_stopped();
                        progress.update(bytes);
                      });
  }
  if (invocation.output.json) return print_json({{"out", config.out->string()}});
  log_line("wrote ", config.out->string());
}

}  // namespace

CoreVerb project_verb() {
  return {
      "project",
      "Split a fine-tune along the directions of an alignment",
      Json::array(
          {Json::array({"smidgen project run/adapter --aligned instruct --base base",
                        "how much of it lies in them"}),
           Json::array({"smidgen project run/adapter --aligned instruct --base base --mode orth "
                        "--fraction 0.25 --out apart",
                        "the adapter without them"})}),
      [] { return describe<ProjectConfig>(); },
      run_project,
      "tuned"};
}

}  // namespace smidgen
