// smidgen project: a fine-tune seen through the directions of an alignment, and copies of it with
// or without them.
#include <iomanip>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/diff/subject.h"
#include "smidgen/delta/subspace/write_projected.h"
#include "smidgen/methods/open_model.h"

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
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, ProjectConfig& c) {
  v("tuned", c.tuned,
    {.help = "Fine-tune of the aligned model: adapter, model folder, GGUF file or BASE+ADAPTER",
     .required = true});
  v("aligned", c.aligned, {.help = "The model that was fine-tuned", .required = true});
  v("base", c.base, {.help = "The model that the aligned one was made from", .required = true});
  v("out", c.out,
    {.help =
         "Write the projected copy here: an adapter for an adapter, else a model folder; without "
         "it only a table is printed"});
  v.choice("mode", c.mode, {"same", "orth", "opp"},
           {.help = "same: what lies inside the directions; orth: the rest; opp: what lies inside, "
                    "backwards"});
  v.choice("directions", c.directions, {"top", "random_k", "random"},
           {.help = "top: the alignment's first left singular vectors; random_k: some of them; "
                    "random: any of the output space"});
  v("fraction", c.fraction,
    {.help = "Directions of a matrix, of its smaller side", .min = 0, .max = 1});
  v("fractions", c.fractions, {.help = "Those of the table", .min = 0, .max = 1});
  v("seed", c.seed, {.help = "Of what is drawn", .min = 0});
  v("allow_other_base", c.allow_other_base,
    {.help = "Take an adapter that was trained on another model than the aligned one"});
}

// The fine-tune, as an update and, where it is one, as the adapter that it is.
struct Tuned {
  std::shared_ptr<const Update> update;
  std::optional<AdapterFiles> adapter;
};

Tuned open_tuned(const ProjectConfig& config, const std::shared_ptr<const Source>& aligned) {
  if (!is_adapter_path(config.tuned))
    return {model_update(open_source(config.tuned, config.allow_other_base), aligned), {}};
  const ModelFiles files = open_model(config.aligned);
  if (!files.adapters.empty())
    throw Error(ErrorKind::usage, "an adapter is projected on a plain model", "--aligned",
                "merge the adapter into it first: smidgen export");
  const auto model = load_model(files, {.dtype = "fp32", .base_format = "stored"});
  AdapterFiles adapter = open_adapter(config.tuned, files);
  check_base(adapter, files, config.allow_other_base);
  const auto loaded = Adapter::load(*model, adapter);
  return {adapter_update(config.tuned, *model, {loaded.get()}, {1.0}), std::move(adapter)};
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

void run_project(const Invocation& invocation) {
  const auto config = read_config<ProjectConfig>(invocation.recipe.values);
  if (config.fractions.empty())
    throw Error(ErrorKind::usage, "no fraction is given", "--fractions");
  const auto aligned = open_source(config.aligned, config.allow_other_base);
  const auto alignment = model_update(aligned, open_source(config.base, config.allow_other_base));
  const Tuned tuned = open_tuned(config, aligned);
  const auto seed = static_cast<uint64_t>(config.seed);
  if (!config.out) {
    const Sweep found = sweep(*tuned.update, *alignment, config.fractions, seed);
    if (!found.without_alignment.empty())
      log_note(found.without_alignment.size(), " tensors were not aligned (",
               found.without_alignment.front(), ", ...)");
    return invocation.output.json ? print_json(found.to_json()) : print(found);
  }
  const Subspace subspace{config.directions == "top"        ? Directions::top
                          : config.directions == "random_k" ? Directions::random_k
                                                            : Directions::random,
                          config.fraction, seed};
  const ProjectionMode mode = config.mode == "same"   ? ProjectionMode::same
                              : config.mode == "orth" ? ProjectionMode::orth
                                                      : ProjectionMode::opp;
  if (tuned.adapter) {
    write_projected_adapter(*tuned.adapter, *alignment, subspace, mode, *config.out);
  } else {
    Progress progress("project", 0);
    write_moved_model(aligned, projected(tuned.update, alignment, subspace, mode), *config.out,
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
