// smidgen compare: how much fine-tunes of one base share of their directions.
#include <cmath>
#include <iomanip>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/compare_page.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/diff/subject.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

struct CompareConfig {
  std::vector<std::string> models;
  std::string base;
  std::vector<double> energy = standard_energies();
  std::string unit = "tensor";
  std::optional<fs::path> out;
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, CompareConfig& c) {
  v("models", c.models,
    {.help = "Two or more: adapters (PATH or PATH:SCALE), model folders, GGUF files, BASE+ADAPTER",
     .required = true});
  v("base", c.base, {.help = "Model that they are compared with", .required = true});
  v("energy", c.energy,
    {.help = "Shares of an update's energy that its subspace holds", .min = 0, .max = 1});
  v.choice(
      "unit", c.unit, {"tensor", "block"},
      {.help = "What a subspace is of: one tensor, or the tensors of a block with equally many "
               "columns, stacked"});
  v("out", c.out, {.help = "Write tables, curves and a heat map to this HTML file"});
  v("allow_config_key", c.allow_config_key,
    {.help = "Keys of adapter_config.json that are let through unread"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Compare an adapter on another base than it was trained on"});
}

// The base, opened as what the updates need it to be, and once.
class Opener {
 public:
  explicit Opener(const CompareConfig& config) : config_(config) {}

  std::shared_ptr<const Update> open(const std::string& spec) {
    if (const AdapterChoice choice = parse_adapter(spec); is_adapter_path(choice.path))
      return adapters(spec, {choice});
    const ModelFiles files = open_model(spec);
    std::error_code ignored;
    if (!files.adapters.empty() && fs::equivalent(files.path, config_.base, ignored)) {
      std::vector<AdapterChoice> choices;
      for (const fs::path& path : files.adapters) choices.push_back(parse_adapter(path.string()));
      return adapters(spec, choices);
    }
    if (!source_) source_ = open_source(config_.base, config_.allow_other_base);
    return model_update(open_source(spec, config_.allow_other_base), source_);
  }

 private:
  // Of an adapter only the factors are needed, and of the base what it says of its sites.
  std::shared_ptr<const Update> adapters(const std::string& label,
                                         const std::vector<AdapterChoice>& choices) {
    if (!model_) {
      files_ = open_model(config_.base);
      if (!files_.adapters.empty())
        throw Error(ErrorKind::usage, "adapters are compared on a plain base", "--base",
                    "leave the adapter out of it");
      model_ = load_model(files_, {.dtype = "fp32", .base_format = "stored"});
    }
    std::vector<std::unique_ptr<Adapter>> owned;
    std::vector<const Adapter*> pointers;
    std::vector<double> weights;
    for (const AdapterChoice& choice : choices) {
      const AdapterFiles files = open_adapter(choice.path, files_);
      check_base(files, files_, config_.allow_other_base);
      owned.push_back(
          Adapter::load(*model_, files, {.allow_config_keys = config_.allow_config_key}));
      pointers.push_back(owned.back().get());
      weights.push_back(choice.scale);
    }
    return adapter_update(label, *model_, pointers, weights);
  }

  const CompareConfig& config_;
  ModelFiles files_;
  std::unique_ptr<Model> model_;
  std::shared_ptr<const Source> source_;
};

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}
std::string cell(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 1, ' ') + text;
}

// Of all energies those that a line has room for: near a tenth, a half and nine tenths.
std::vector<size_t> shown(const std::vector<double>& energies) {
  std::vector<size_t> picked;
  for (const double wanted : {0.1, 0.5, 0.9}) {
    size_t best = 0;
    for (size_t i = 1; i < energies.size(); ++i) {
      if (std::abs(energies[i] - wanted) < std::abs(energies[best] - wanted)) best = i;
    }
    if (picked.empty() || picked.back() != best) picked.push_back(best);
  }
  return picked;
}

std::string pair_line(const Comparison& c, const CompareTotal& total, size_t pair) {
  const auto& [a, b] = c.pairs[pair];
  const CompareTotal::Pair& sums = total.pairs[pair];
  const auto angle = cosine(sums.dot, total.squares[a], total.squares[b]);
  std::string line = total.name;
  line.resize(std::max<size_t>(line.size() + 1, 24), ' ');
  line +=
      cell(fixed(std::sqrt(total.squares[a]), 4), 11) +
      cell(fixed(std::sqrt(total.squares[b]), 4), 11) + cell(angle ? fixed(*angle, 4) : "-", 9) +
      cell(sums.both
               ? fixed(100.0 * static_cast<double>(sums.agree) / static_cast<double>(sums.both), 1)
               : "-",
           8);
  for (const size_t i : shown(c.energies))
    line += cell(
        sums.counted ? str(fixed(sums.overlap[i], 3), " (", fixed(sums.random[i], 3), ")") : "-",
        16);
  return line + "\n";
}

void print(const Comparison& c) {
  std::string text;
  for (size_t pair = 0; pair < c.pairs.size(); ++pair) {
    const auto& [a, b] = c.pairs[pair];
    text += str(pair ? "\n" : "", "A ", c.labels[a], "\nB ", c.labels[b], "\n");
    std::string head = "block";
    head.resize(24, ' ');
    head += cell("norm A", 11) + cell("norm B", 11) + cell("cosine", 9) + cell("sign %", 8);
    for (const size_t i : shown(c.energies))
      head += cell(str("overlap ", fixed(c.energies[i], 2)), 16);
    text += head + "\n";
    for (const CompareTotal& block : c.blocks) text += pair_line(c, block, pair);
    text += pair_line(c, c.all, pair);
  }
  text += "Overlaps are means over matrices; in brackets what independent random subspaces give.\n";
  console().print(text);
}

void run_compare(const Invocation& invocation) {
  const auto config = read_config<CompareConfig>(invocation.recipe.values);
  if (config.models.size() < 2)
    throw Error(ErrorKind::usage, "there is nothing to compare it with", "",
                "name two or more: smidgen compare A B --base BASE");
  for (const double eta : config.energy) {
    if (eta == 0) throw Error(ErrorKind::usage, "a subspace without energy is empty", "--energy");
  }
  if (config.energy.empty()) throw Error(ErrorKind::usage, "no energy is given", "--energy");
  Opener opener(config);
  std::vector<std::shared_ptr<const Update>> updates;
  for (const std::string& spec : config.models) {
    updates.push_back(opener.open(spec));
    if (const auto& left = updates.back()->left_out(); !left.empty())
      log_note(spec, ": ", left.size(), " tensors without a difference are left out (",
               left.front(), left.size() > 1 ? ", ..." : "", ")");
  }
  Progress progress("compare", 0);
  CompareOptions options{.energies = config.energy};
  if (config.unit == "block") options.unit = CompareOptions::Unit::block;
  options.progress = [&](int64_t done, int64_t) {
    throw_if_stopped();
    progress.update(done);
  };
  const Comparison comparison = compare_updates(updates, options);
  if (config.out) write_file(*config.out, compare_page(comparison, config.base));
  if (invocation.output.json) return print_json(comparison.to_json());
  print(comparison);
  if (config.out) log_line("wrote ", config.out->string());
}

}  // namespace

CoreVerb compare_verb() {
  return {"compare",
          "Measure how much fine-tunes of one base overlap",
          Json::array({Json::array({"smidgen compare run/adapter other/adapter --base model.gguf",
                                    "two adapters: cosines, signs, shared subspaces"}),
                       Json::array({"smidgen compare aligned tuned --base model --out overlap.html",
                                    "two models, with a page of figures"})}),
          [] { return describe<CompareConfig>(); },
          run_compare,
          "models"};
}

}  // namespace smidgen
