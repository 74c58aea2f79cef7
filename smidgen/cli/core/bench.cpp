// smidgen bench step: how fast this machine tunes this model, without data.
#include <algorithm>
#include <cstdio>

#include "smidgen/base/console.h"
#include "smidgen/base/memory.h"
#include "smidgen/base/rng.h"
#include "smidgen/base/threads.h"
#include "smidgen/cli/core/bench_load.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/io/json_file.h"
#include "smidgen/kernels/target.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/train/step_timing.h"

namespace smidgen {

namespace {

struct BenchConfig {
  std::string what = "step";
  ModelConfig model;
  OneOf method{"lora"};
  OptimizerConfig optimizer;
  std::string tokens = "2x512";
  std::optional<fs::path> ids_file;
  int64_t steps = 6, skip = 3, seed = 0;
  bool step_only = false;
};

template <class V>
void fields(V& v, BenchConfig& c) {
  v.choice("what", c.what, {"step", "load"},
           {.help = "What is measured: a tuning step on random ids, or loading the model"});
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
  fields(v, c.optimizer);
  v.oneof("method", c.method, "method", {.help = "What is trained"});
}

std::pair<int64_t, int64_t> parse_tokens(const std::string& text) {
  long long sequences = 0, length = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%lldx%lld%c", &sequences, &length, &rest) != 2 || sequences < 1 ||
      length < 2 || sequences > 1'000'000 || length > 10'000'000) {
    throw Error(ErrorKind::usage, str("'", text, "' is not a batch"), "--tokens",
                "sequences x length, as in 2x512; at least 1x2");
  }
  return {sequences, length};
}

using Sequences = std::vector<std::vector<int32_t>>;

Sequences random_ids(uint64_t seed, int64_t sequences, int64_t length, int64_t vocabulary) {
  const Rng rng(seed, "bench ids");
  Sequences ids(static_cast<size_t>(sequences));
  uint64_t at = 0;
  for (auto& row : ids) {
    for (int64_t i = 0; i < length; ++i)
      row.push_back(static_cast<int32_t>(rng.uniform(at++) * static_cast<double>(vocabulary)));
  }
  return ids;
}

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

void show(const Json& result, bool json) {
  if (json) return print_json(result);
  for (const auto& [key, value] : result.items()) {
    std::string label = key;
    std::replace(label.begin(), label.end(), '_', ' ');
    console().print(str(label, std::string(20 - std::min<size_t>(19, label.size()), ' '),
                        value.is_string() ? value.get<std::string>() : value.dump(), "\n"));
  }
}

void run_bench(const Invocation& invocation) {
  const auto config = read_config<BenchConfig>(invocation.recipe.values);
  if (config.what == "load")
    return show(measure_load(config.model, config.steps), invocation.output.json);
  if (config.skip >= config.steps)
    throw Error(ErrorKind::usage, str("all ", config.steps, " steps are skipped"), "--skip");
  LoadedModel loaded = open_detached(
      config.model.choice, {.dtype = config.model.dtype, .base_format = config.model.base_format});
  Model& model = *loaded.model;
  const auto seed = static_cast<uint64_t>(config.seed);
  const auto adapter = Adapter::create(model, config.method.name, config.method.config, seed);
  StepBench bench;
  bench.steps = config.steps;
  bench.skip = config.skip;
  bench.optimizer = config.optimizer;
  if (config.ids_file) {
    bench.batches = read_ids(*config.ids_file);
  } else {
    const auto [sequences, length] = parse_tokens(config.tokens);
    bench.batches = {random_ids(seed, sequences, length, model.vocabulary())};
  }
  const int64_t tokens = tokens_of_each(bench.batches);
  const StepTimes times = time_steps(model, *adapter, bench);
  const auto count = static_cast<double>(tokens);
  Json result = {{"tokens_per_s", count / times.seconds},
                 {"tokens_per_s_least", count / times.most},
                 {"tokens_per_s_most", count / times.least},
                 {"peak_mb", static_cast<double>(peak_rss()) / (1 << 20)},
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
          "Measure a tuning step, or loading, of a model on this machine",
          Json::array({Json::array({"smidgen bench step --model model.gguf --tokens 2x512 --rank 8",
                                    "tokens a second, memory, share of the products"})}),
          [] { return describe<BenchConfig>(); },
          run_bench,
          "what"};
}

}  // namespace smidgen
