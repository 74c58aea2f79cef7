// smidgen plan: what a run of `tune` would take, without running it.
#include <algorithm>

#include "smidgen/base/console.h"
#include "smidgen/base/progress.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/train/tune.h"

namespace smidgen {

namespace {

struct PlanOnly {
  std::string tokens;
  std::optional<Size> fit;
  bool no_timing = false;
};

template <class V>
void fields(V& v, PlanOnly& c) {
  v("tokens", c.tokens,
    {.help = "Sequences and their length in a forward pass, 8x512, in place of data"});
  v("fit", c.fit, {.help = "Ask the other way: what fits into so much memory, 2GB"});
  v("no_timing", c.no_timing, {.help = "Predict memory only, and compute nothing"});
}

// The fields of `tune`, of which none must be set that a plan can do without.
Json plan_fields() {
  Json all = describe<PlanOnly>();
  for (Json node : tune_fields()) {
    if (node["name"] == "data") node["default"] = Json::array();
    if (node["name"] == "out") node["default"] = "";
    if (node["name"] != "model") node.erase("required");
    all.push_back(std::move(node));
  }
  return all;
}

std::string row(const std::string& name, const std::string& value) {
  return str(name, std::string(22 - std::min<size_t>(21, name.size()), ' '), value, "\n");
}

std::string seconds_text(double s) {
  char text[40];
  std::snprintf(text, sizeof text, s < 100 ? "%.2f s" : "%.0f s", s);
  return text;
}

}  // namespace

std::string plan_text(const Json& plan) {
  std::string text;
  for (const auto& [key, value] : plan.items()) {
    if (value.is_array() || key == "fits" || key == "timing_cached") continue;
    std::string label = key;
    std::replace(label.begin(), label.end(), '_', ' ');
    if (key.ends_with("_bytes")) {
      text += row(label.substr(0, label.size() - 6) + " memory", bytes_text(value.get<int64_t>()));
    } else if (key.ends_with("_s") && key != "tokens_per_s") {
      text += row(label.substr(0, label.size() - 2), seconds_text(value.get<double>()));
    } else if (key == "tokens_per_s") {
      text += row("tokens a second", count_text(value.get<double>()));
    } else {
      text += row(label, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  if (plan.contains("fits")) text += row("fits", plan["fits"].get<bool>() ? "yes" : "no");
  if (plan.contains("would_fit")) {
    for (const Json& way : plan["would_fit"]) text += row("would fit", way.get<std::string>());
  }
  if (plan.contains("fit")) {
    text += "\nbase format      base      largest --micro-tokens\n";
    for (const Json& way : plan["fit"]) {
      std::string format = way["base_format"], base = bytes_text(way["base_bytes"].get<int64_t>());
      format.resize(std::max<size_t>(format.size() + 1, 17), ' ');
      base.resize(std::max<size_t>(base.size() + 1, 10), ' ');
      const auto most = way["micro_tokens"].get<int64_t>();
      text += str(format, base, most ? std::to_string(most) : "does not fit", "\n");
    }
  }
  return text;
}

namespace {

void run_plan(const Invocation& call) {
  Json values = call.recipe.values, own = Json::object();
  for (const Json& node : describe<PlanOnly>()) {
    const std::string name = node["name"];
    own[name] = values[name];
    values.erase(name);
  }
  const auto only = read_config<PlanOnly>(own);
  if (only.tokens.empty() && values["data"].empty()) {
    throw Error(ErrorKind::usage, "neither data nor a shape of a step is given", "",
                "give --data, or the shape: --tokens 8x512");
  }
  Resolved recipe = call.recipe;
  recipe.values = values;
  const Json plan =
      plan_tuning({.recipe = std::move(recipe), .yaml = call.yaml, .threads = call.threads},
                  {.tokens = only.tokens,
                   .fit = only.fit ? std::optional(only.fit->bytes) : std::nullopt,
                   .timing = !only.no_timing});
  if (call.output.json) return print_json(plan);
  console().print(plan_text(plan));
}

}  // namespace

CoreVerb plan_verb() {
  return {.name = "plan",
          .summary = "Predict memory and time of a tuning run, or what fits",
          .examples = Json::array(
              {Json::array({"smidgen plan recipe.yaml", "memory, time, whether it fits"}),
               Json::array(
                   {"smidgen plan --model model.gguf --tokens 8x512 --rank 16", "without data"}),
               Json::array({"smidgen plan recipe.yaml --fit 2GB", "the largest batch by format"})}),
          .describe = plan_fields,
          .run = run_plan,
          .positional = ""};
}

}  // namespace smidgen
