// smidgen bench: how fast this machine tunes this model, and generates with it, without data.
#include <algorithm>
#include <set>

#include "smidgen/base/console.h"
#include "smidgen/base/memory.h"
#include "smidgen/base/threads.h"
#include "smidgen/cli/core/bench_load.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/io/json_file.h"
#include "smidgen/kernels/target.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/nn/generate_timing.h"
#include "smidgen/train/step_timing.h"

namespace smidgen {

namespace {

struct BenchConfig {
  std::string what = "step";
  ModelConfig model;
  OneOf method{"lora"};
  OptimizerConfig optimizer;
  MemoryPlan memory;
  std::string tokens = "2x512";
  std::optional<fs::path> ids_file;
  int64_t steps = 6, skip = 3, seed = 0;
  bool step_only = false;
  std::vector<int64_t> context{128, 1024};
  int64_t new_tokens = 64, runs = 3;
};

template <class V>
void fields(V& v, BenchConfig& c) {
  v.choice("what", c.what, {"step", "generate", "load"},
           {.help = "What is measured: a tuning step or generation on random ids, or loading"});
  fields(v, c.model);
  v("tokens", c.tokens, {.help = "Sequences and their length: 2x512"});
  v("ids_file", c.ids_file,
    {.help = "JSON: for each step a list of sequences, lists of ids of one length, instead of "
             "random ones"});
  v("steps", c.steps, {.help = "Steps in all", .min = 1, .max = 10000});
  v("skip", c.skip, {.help = "First steps, which are not timed", .min = 0, .max = 10000});
  v("seed", c.seed, {.help = "Seed of the ids and of the adapter", .min = 0});
  v("step_only", c.step_only,
    {.help = "Do not measure how fast the step's products run alone, which gemm_share needs"});
  v("context", c.context,
    {.help = "generate: lengths of the prompts, each measured by itself", .min = 1});
  v("new_tokens", c.new_tokens, {.help = "generate: tokens after each prompt", .min = 2});
  v("runs", c.runs, {.help = "generate: runs, after one that warms up", .min = 1, .max = 10000});
  fields(v, c.optimizer);
  fields(v, c.memory);
  v.oneof("method", c.method, "method", {.help = "What is trained"});
}

using Sequences = std::vector<std::vector<int32_t>>;

std::vector<Sequences> read_ids(const fs::path& path) {
  try {
    return read_json(path).get<std::vector<Sequences>>();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::format, "this is not a list of steps, of sequences, of token ids",
                path.string(), "[[[1, 2, 3], [4, 5, 6]]] is one step of two sequences");
  }
}

// Tokens of a step. A rate over steps of different sizes would be none, and a sequence of one token
// asks for nothing.
int64_t tokens_of_each(const std::vector<Sequences>& batches) {
  std::optional<size_t> common;
  for (const Sequences& step : batches) {
    size_t tokens = 0;
    for (const auto& row : step) {
      if (row.size() < 2)
        throw Error(ErrorKind::usage, "a sequence of fewer than two tokens", "--ids-file");
      tokens += row.size();
    }
    if (tokens != common.value_or(tokens))
      throw Error(ErrorKind::usage, str("steps of ", *common, " and of ", tokens, " tokens"),
                  "--ids-file", "give every step as many tokens");
    common = tokens;
  }
  if (!common || *common == 0) throw Error(ErrorKind::usage, "a step without tokens", "--ids-file");
  return static_cast<int64_t>(*common);
}

void print_figures(const Json& figures) {
  for (const auto& [key, value] : figures.items()) {
    std::string label = key;
    std::replace(label.begin(), label.end(), '_', ' ');
    console().print(str(label, std::string(20 - std::min<size_t>(19, label.size()), ' '),
                        value.is_string() ? value.get<std::string>() : value.dump(), "\n"));
  }
}

// Median, least and most under `name`, `name`_least and `name`_most.
void add_spread(Json& figures, const std::string& name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  figures[name] = values[values.size() / 2];
  figures[name + "_least"] = values.front();
  figures[name + "_most"] = values.back();
}

void run_generation(const BenchConfig& config, bool json) {
  const LoadedModel loaded = open(config.model);
  const Model& model = *loaded.model;
  Json contexts = Json::array();
  for (const int64_t length : config.context) {
    const auto ids =
        random_sequences({length}, model.vocabulary(), static_cast<uint64_t>(config.seed));
    const GenerateRates rates = time_generation(model, {.prompt = ids.front(),
                                                        .slot = loaded.slot,
                                                        .new_tokens = config.new_tokens,
                                                        .runs = config.runs});
    Json row = {{"context", length}};
    add_spread(row, "prefill_tokens_per_s", rates.prefill);
    add_spread(row, "decode_tokens_per_s", rates.decode);
    contexts.push_back(row);
  }
  Json result = {{"contexts", contexts},
                 {"peak_mb", static_cast<double>(peak_rss()) / (1 << 20)},
                 {"base_mb", static_cast<double>(model.weight_bytes()) / (1 << 20)},
                 {"arithmetic", std::string(to_string(model.arithmetic()))},
                 {"target", kernel_target()},
                 {"threads", thread_count()}};
  if (json) return print_json(result);
  for (const Json& row : contexts) print_figures(row);
  result.erase("contexts");
  print_figures(result);
}

// A flag of another measurement would do nothing.
void refuse_others(const Resolved& recipe, const std::string& what) {
  const std::set<std::string> of_model{
      "what", "model", "adapter", "allow_config_key", "allow_other_base", "dtype", "base_format"};
  const std::set<std::string> of_generate{"context", "new_tokens", "runs", "seed"},
      of_load{"steps"}, not_of_step{"context", "new_tokens", "runs"};
  for (const auto& [path, origin] : recipe.origins) {
    const bool fits = what == "step"       ? !not_of_step.contains(path)
                      : what == "generate" ? of_generate.contains(path) || of_model.contains(path)
                                           : of_load.contains(path) || of_model.contains(path);
    if (fits || origin.kind == Origin::Kind::standard || recipe.common.contains(path)) continue;
    throw Error(ErrorKind::usage, str("bench ", what, " does not use it"), recipe.where(path));
  }
}

void show(const Json& figures, bool json) {
  if (json) return print_json(figures);
  print_figures(figures);
}

void run_bench(const Invocation& invocation) {
  const auto config = read_config<BenchConfig>(invocation.recipe.values);
  refuse_others(invocation.recipe, config.what);
  if (config.what == "generate") return run_generation(config, invocation.output.json);
  if (config.what == "load")
    return show(measure_load(config.model, config.steps), invocation.output.json);
  if (config.skip >= config.steps)
    throw Error(ErrorKind::usage, str("all ", config.steps, " steps are skipped"), "--skip");
  LoadedModel loaded = open_detached(
      config.model.choice, {.dtype = config.model.dtype, .base_format = config.model.base_format});
  Model& model = *loaded.model;
  model.set_memory(config.memory);
  const auto seed = static_cast<uint64_t>(config.seed);
  const auto adapter = Adapter::create(model, config.method.name, config.method.config, seed);
  StepBench bench;
  bench.steps = config.steps;
  bench.skip = config.skip;
  bench.optimizer = config.optimizer;
  if (config.ids_file) {
    bench.batches = read_ids(*config.ids_file);
  } else {
    const auto [sequences, length] = parse_batch(config.tokens);
    const std::vector<int64_t> lengths(static_cast<size_t>(sequences), length);
    bench.batches = {random_sequences(lengths, model.vocabulary(), seed)};
  }
  const int64_t tokens = tokens_of_each(bench.batches);
  const StepTimes times = time_steps(model, *adapter, bench);
  const auto count = static_cast<double>(tokens);
  Json result = {{"tokens_per_s", count / times.seconds},
                 {"tokens_per_s_least", count / times.most},
                 {"tokens_per_s_most", count / times.least},
                 {"peak_mb", static_cast<double>(peak_rss()) / (1 << 20)},
                 {"activation_mb", static_cast<double>(times.activations) / (1 << 20)},
                 {"step_s", times.seconds},
                 {"losses", times.losses},
                 {"trainable", adapter->store().trainable_elements()},
                 {"base_mb", static_cast<double>(model.weight_bytes()) / (1 << 20)},
                 {"arithmetic", std::string(to_string(model.arithmetic()))},
                 {"target", kernel_target()},
                 {"threads", thread_count()}};
  if (!config.step_only) {
    const ProductRate rate = product_rate(model, tokens);
    result["gemm_gflops"] = rate.per_second() / 1e9;
    result["square_gflops"] = square_rate(model.arithmetic()) / 1e9;
    result["gemm_share"] = rate.seconds / times.seconds;
    result["copy_gb_per_s"] = copy_rate() / 1e9;
    for (const ProductShape& s : rate.shapes) {
      result["products"].push_back(
          {{"out", s.out},
           {"in", s.in},
           {"count", s.count},
           {"gflops", s.flops / s.seconds / 1e9},
           {"flops_per_byte", s.flops / s.bytes},
           {"share", static_cast<double>(s.count) * s.seconds / times.seconds}});
    }
  }
  show(result, invocation.output.json);
}

}  // namespace

CoreVerb bench_verb() {
  return {"bench",
          "Measure a tuning step, generation or loading of a model on this machine",
          Json::array({Json::array({"smidgen bench step --model model.gguf --tokens 2x512 --rank 8",
                                    "tokens a second, memory, share of the products"}),
                       Json::array({"smidgen bench generate --model model.gguf --context 128,1024",
                                    "tokens a second of reading a prompt and of answering"})}),
          [] { return describe<BenchConfig>(); },
          run_bench,
          "what"};
}

}  // namespace smidgen
