#include "smidgen/delta/merge/card.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "smidgen/base/str.h"
#include "smidgen/base/threads.h"
#include "smidgen/base/version.h"

namespace smidgen {

namespace {

// Squared norms and weighted shares of some tensors.
struct Sum {
  double squares = 0, moved = 0, disputed = 0, elements = 0;
  std::vector<double> inputs;

  void add(const Json& of, double n) {
    const auto square = [](double x) { return x * x; };
    squares += square(of["norm"].get<double>());
    moved += of["moved"].get<double>() * n;
    disputed += of["disputed"].get<double>() * n;
    elements += n;
    const Json& norms = of["inputs"];
    inputs.resize(std::max(inputs.size(), norms.size()));
    for (size_t i = 0; i < norms.size(); ++i) inputs[i] += square(norms[i].get<double>());
  }
  Json json() const {
    Json norms = Json::array();
    for (const double x : inputs) norms.push_back(std::sqrt(x));
    return {{"norm", std::sqrt(squares)},
            {"moved", moved / std::max(1.0, elements)},
            {"disputed", disputed / std::max(1.0, elements)},
            {"inputs", norms}};
  }
};

// "layers.7" of "model.layers.7.mlp.up_proj.weight"; "other" without a number.
std::string group_of(const std::string& tensor) {
  size_t from = 0;
  for (size_t dot = tensor.find('.'); dot != tensor.npos; dot = tensor.find('.', dot + 1)) {
    const size_t end = std::min(tensor.find('.', dot + 1), tensor.size());
    const std::string part = tensor.substr(dot + 1, end - dot - 1);
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    if (digits) return tensor.substr(from, end - from);
    from = dot + 1;
  }
  return "other";
}

std::string row(const std::string& name, const Json& s) {
  std::ostringstream text;
  text.precision(4);
  text << "| " << name << " | " << s["norm"].get<double>() << " | "
       << 100 * s["moved"].get<double>() << " % | " << 100 * s["disputed"].get<double>() << " % |";
  for (const Json& norm : s["inputs"]) text << " " << norm.get<double>() << " |";
  return text.str() + "\n";
}

std::string statistics_table(const MergePlan& plan, const Json& by_tensor) {
  std::vector<std::string> order;
  std::map<std::string, Sum> groups;
  size_t inputs = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    const auto found = by_tensor.find(tensor.task.tensor);
    if (found == by_tensor.end()) continue;
    const std::string group = group_of(tensor.task.tensor);
    if (!groups.contains(group)) order.push_back(group);
    groups[group].add(*found, static_cast<double>(tensor.task.elements));
    inputs = std::max(inputs, tensor.task.inputs);
  }
  if (order.empty()) return "";
  std::string text =
      "\n## What it did\n\nDistances are Frobenius norms from the base (from the first model where "
      "there is none).\nDisputed: some models lie above it and others below.\n\n"
      "| tensors | result | moved | disputed |";
  for (size_t i = 0; i < inputs; ++i) text += str(" input ", i + 1, " |");
  text += "\n|---|---|---|---|";
  for (size_t i = 0; i < inputs; ++i) text += "---|";
  text += "\n" + row("all", whole_statistics(plan, by_tensor));
  for (const std::string& group : order) text += row(group, groups[group].json());
  return text;
}

}  // namespace

Json whole_statistics(const MergePlan& plan, const Json& by_tensor) {
  Sum sum;
  for (const PlannedTensor& tensor : plan.tensors) {
    const auto found = by_tensor.find(tensor.task.tensor);
    if (found != by_tensor.end()) sum.add(*found, static_cast<double>(tensor.task.elements));
  }
  return sum.json();
}

std::string merge_card(const MergePlan& plan,
                       const std::vector<std::shared_ptr<const Source>>& sources,
                       const std::string& recipe, const Json& statistics, bool digests) {
  std::vector<std::string> digest(sources.size());
  if (digests) {
    parallel_claims(static_cast<int64_t>(sources.size()), 1, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) digest[i] = sources[i]->files()->digest();
    });
  }
  std::string text = "---\ntags:\n- merge\n- smidgen\n---\n\n# A merged model\n\n";
  text += str("Made by smidgen ", version(), " with the method `", plan.method, "`.\n\n");
  text += "| input | model |";
  text += digests ? " SHA-256 of its weights |\n|---|---|---|\n" : "\n|---|---|\n";
  for (size_t i = 0; i < sources.size(); ++i) {
    text += str("| ", i + 1, " | ", sources[i]->label(), " |");
    text += digests ? str(" `", digest[i], "` |\n") : "\n";
  }
  text += str("\n## Recipe\n\n```yaml\n", recipe, recipe.ends_with('\n') ? "" : "\n", "```\n");
  return text + statistics_table(plan, statistics);
}

}  // namespace smidgen
