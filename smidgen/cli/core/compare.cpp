// smidgen compare: how much fine-tunes of one base share of their directions, or two sets of
// prompts in the hidden states of a model.
#include <cmath>
#include <iomanip>
#include <optional>
#include <sstream>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/compare_activations.h"
#include "smidgen/cli/core/compare_page.h"
#include "smidgen/cli/core/named_model.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/subspace/open_update.h"

namespace smidgen {

namespace {

struct CompareConfig {
  std::vector<std::string> models;
  std::string base;
  std::vector<double> energy;
  std::string unit = "tensor";
  std::vector<std::string> prompts;
  std::vector<int64_t> layers;
  bool centre = false, raw = false;
  std::optional<fs::path> out;
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, CompareConfig& c) {
  v("models", c.models,
    {.help = "Two or more, with --prompts one or more: adapters (PATH or PATH:SCALE), compressed "
             "fine-tunes, model folders, GGUF files, BASE+ADAPTER",
     .required = true});
  v("base", c.base,
    {.help = "Model that they are compared with; with --prompts only adapters need it"});
  v("energy", c.energy,
    {.help = "Shares of the energy that a subspace holds; by default 0.01, 0.1, 0.2 ... 0.9, 0.99, "
             "with --prompts to 0.6",
     .min = 0,
     .max = 1});
  v.choice(
      "unit", c.unit, {"tensor", "block"},
      {.help = "What a subspace is of: one tensor, or the tensors of a block with equally many "
               "columns, stacked"});
  v("prompts", c.prompts,
    {.help = "Two files of prompts: compare what they do to the hidden states of each model"});
  v("layers", c.layers,
    {.help = "With --prompts: first and last hidden state, 1 is after the first block; by default "
             "those at 65 to 90 % of the depth",
     .min = 1});
  v("centre", c.centre, {.help = "With --prompts: subtract the mean of each set"});
  v("raw", c.raw,
    {.help = "With --prompts: read them as they stand; else each is a user's turn where the model "
             "has a chat template"});
  v("out", c.out, {.help = "Write tables, curves and a heat map to this HTML file"});
  v("allow_config_key", c.allow_config_key,
    {.help = "Keys of adapter_config.json that are let through unread"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Compare an adapter on another base than it was trained on"});
}

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

Comparison compare_models(const CompareConfig& config) {
  if (config.models.size() < 2)
    throw Error(ErrorKind::usage, "there is nothing to compare it with", "",
                "name two or more: smidgen compare A B --base BASE");
  if (config.base.empty())
    throw Error(ErrorKind::usage, "a fine-tune is compared by its difference from a base", "",
                "name it: --base BASE");
  for (const auto& [flag, given] :
       {std::pair{"--layers", !config.layers.empty()}, std::pair{"--centre", config.centre},
        std::pair{"--raw", config.raw}}) {
    if (given) throw Error(ErrorKind::usage, "it is for --prompts", flag);
  }
  UpdateOpener opener(config.base, config.allow_other_base, config.allow_config_key);
  std::vector<std::shared_ptr<const Update>> updates;
  for (const std::string& spec : config.models) {
    updates.push_back(opener.open(spec));
    if (const auto& left = updates.back()->left_out(); !left.empty())
      log_note(spec, ": ", counted(left.size(), "tensor"),
               " without a difference: ", join(left, ", ", 3));
  }
  CompareOptions options;
  if (!config.energy.empty()) options.energies = config.energy;
  if (config.unit == "block") options.unit = CompareOptions::Unit::block;
  std::optional<Progress> progress;
  options.progress = [&](int64_t done, int64_t total) {
    throw_if_stopped();
    if (!progress) progress.emplace("compare", total);
    progress->update(done);
  };
  return compare_updates(updates, options);
}

std::vector<ActivationComparison> compare_prompts(const CompareConfig& config) {
  if (config.prompts.size() != 2)
    throw Error(ErrorKind::usage,
                str("two sets of prompts are compared, not ", config.prompts.size()), "--prompts");
  if (!config.layers.empty() && (config.layers.size() != 2 || config.layers[0] > config.layers[1]))
    throw Error(ErrorKind::usage, "the first and the last hidden state are needed", "--layers",
                "for example --layers 8,11");
  if (config.unit != "tensor")
    throw Error(ErrorKind::usage, "hidden states have no tensors to stack", "--unit");
  ActivationOptions options{.centre = config.centre};
  if (!config.energy.empty()) options.energies = config.energy;
  if (!config.layers.empty()) options.first = config.layers[0], options.last = config.layers[1] + 1;
  const NamedModels named{config.base, config.allow_config_key, config.allow_other_base};
  std::vector<ActivationComparison> found;
  for (const std::string& spec : config.models) {
    LoadedModel loaded = open({.choice = named_model(named, spec), .dtype = "fp32"});
    ActivationComparison one{.model = spec, .files = config.prompts};
    std::vector<std::vector<std::vector<int32_t>>> sets;
    for (const std::string& file : config.prompts) {
      sets.push_back(read_prompts(file, loaded, config.raw));
      one.counts.push_back(sets.back().size());
    }
    // Slot 0 is the bare base, on which nothing hangs.
    const int slot = loaded.slot == 0 ? 1 : loaded.slot;
    one.layers = activation_overlap(*loaded.model, sets[0], sets[1], slot, options);
    found.push_back(std::move(one));
    throw_if_stopped();
  }
  return found;
}

void print(const std::vector<ActivationComparison>& found) {
  std::string text;
  for (const ActivationComparison& c : found) {
    text += str(text.empty() ? "" : "\n", c.model, "\n");
    for (size_t i = 0; i < 2; ++i)
      text += str(i ? "B " : "A ", c.files[i], ", ", counted(c.counts[i], "prompt"), "\n");
    std::vector<double> energies;
    for (const Overlap& overlap : c.layers.front().overlaps) energies.push_back(overlap.eta);
    std::string head = "hidden state";
    head.resize(24, ' ');
    head += cell("norm A", 11) + cell("norm B", 11);
    for (const size_t i : shown(energies)) head += cell(str("overlap ", fixed(energies[i], 2)), 16);
    text += head + "\n";
    for (const ActivationLayer& layer : c.layers) {
      std::string line = std::to_string(layer.layer);
      line.resize(24, ' ');
      line += cell(fixed(layer.norm_a, 4), 11) + cell(fixed(layer.norm_b, 4), 11);
      for (const size_t i : shown(energies))
        line += cell(
            str(fixed(layer.overlaps[i].value, 3), " (", fixed(layer.overlaps[i].random, 3), ")"),
            16);
      text += line + "\n";
    }
  }
  console().print(text + "In brackets what independent random subspaces give.\n");
}

void run_compare(const Invocation& invocation) {
  const auto config = read_config<CompareConfig>(invocation.recipe.values);
  for (const double eta : config.energy) {
    if (eta == 0) throw Error(ErrorKind::usage, "a subspace without energy is empty", "--energy");
  }
  if (!config.prompts.empty()) {
    const auto found = compare_prompts(config);
    if (config.out) write_file(*config.out, activation_page(found));
    if (invocation.output.json) {
      Json all = Json::array();
      for (const ActivationComparison& one : found) all.push_back(one.to_json());
      return print_json({{"models", all}});
    }
    print(found);
  } else {
    const Comparison comparison = compare_models(config);
    if (config.out) write_file(*config.out, compare_page(comparison, config.base));
    if (invocation.output.json) return print_json(comparison.to_json());
    print(comparison);
  }
  if (config.out) log_line("wrote ", config.out->string());
}

}  // namespace

CoreVerb compare_verb() {
  return {"compare",
          "Measure how much fine-tunes of one base overlap",
          Json::array({Json::array({"smidgen compare run/adapter other/adapter --base model.gguf",
                                    "two adapters: cosines, signs, shared subspaces"}),
                       Json::array({"smidgen compare aligned tuned --base model --out overlap.html",
                                    "two models, with a page of figures"}),
                       Json::array({"smidgen compare aligned --prompts useful.txt,harmful.txt",
                                    "two sets of prompts, by hidden states"})}),
          [] { return describe<CompareConfig>(); },
          run_compare,
          "models"};
}

}  // namespace smidgen
