#include "smidgen/train/step_probe.h"

#include <algorithm>
#include <chrono>

#include "smidgen/base/cpu.h"
#include "smidgen/base/sha256.h"
#include "smidgen/base/threads.h"
#include "smidgen/base/user_cache.h"
#include "smidgen/base/version.h"
#include "smidgen/kernels/target.h"
#include "smidgen/train/step_timing.h"

namespace smidgen {

namespace {

// More rows than this tell nothing new, unless one sequence alone has them.
constexpr int64_t kRows = 2048;
constexpr int64_t kBlocks = 6;
constexpr int64_t kBytes = int64_t{1} << 29;  // of weights read for the probe, beyond two blocks

std::vector<int64_t> probed(std::vector<int64_t> lengths) {
  int64_t rows = 0;
  size_t count = 0;
  for (; count < lengths.size() && (count == 0 || rows + lengths[count] <= kRows); ++count)
    rows += lengths[count];
  lengths.resize(count);
  return lengths;
}

std::string key_of(const TuneConfig& c, const Model& model, const std::vector<int64_t>& lengths) {
  std::string formats;
  for (const auto& host : model.hosts()) formats += str(host->weight().original().format(), " ");
  const Json what = {
      {"processor", cpu_info().model},
      {"target", kernel_target()},
      {"threads", thread_count()},
      {"smidgen", version()},
      {"config", model.config()},
      {"formats", formats},
      {"arithmetic", std::string(to_string(model.arithmetic()))},
      {"method", c.train.method.name},
      {"settings", c.train.method.config},
      {"memory", {static_cast<int>(c.train.memory.mode), c.train.memory.checkpoint_every}},
      {"optimizer", c.train.optimizer.optimizer},
      {"lengths", lengths}};
  return sha256(what.dump()).substr(0, 16);
}

// A model of few blocks with a fresh adapter, and the fastest of its passes and updates so far.
struct Probe {
  LoadedModel loaded;
  std::unique_ptr<Adapter> adapter;
  double pass = 1e30, update = 1e30;

  Probe(const TuneConfig& c, int64_t layers)
      : loaded(open_detached(
            c.model.choice,
            {.dtype = c.model.dtype, .base_format = c.model.base_format, .layers = layers})),
        adapter(Adapter::create(*loaded.model, c.train.method.name, c.train.method.config, 0)) {
    loaded.model->set_memory(c.train.memory);
  }

  void run(const StepBench& bench) {
    const StepTimes times = time_steps(*loaded.model, *adapter, bench);
    pass = std::min(pass, times.pass);
    update = std::min(update, times.update);
  }
};

}  // namespace

std::optional<StepTime> probe_step(const TuneConfig& config, const PlannedRun& run,
                                   const StepShape& shape, double most_seconds) {
  const Model& model = *run.loaded().model;
  const std::vector<int64_t> lengths = probed(shape.largest);
  StepTime time;
  for (const int64_t length : lengths) time.tokens += length;
  const std::string key = key_of(config, model, lengths);
  const Json known = read_cache("step_times");
  if (known.contains(key) && known[key].value("pass_s", 0.0) > 0) {
    time.pass = known[key]["pass_s"];
    time.update = known[key].value("update_s", 0.0);
    time.cached = true;
    return time;
  }
  const int64_t layers = run.layers();
  const auto weight = static_cast<int64_t>(model.weight_bytes());
  const int64_t low = 1,
                high = std::min(layers, weight / std::max<int64_t>(1, layers) * kBlocks > kBytes
                                            ? int64_t{2}
                                            : kBlocks);
  try {
    Probe few(config, low), more(config, high);
    StepBench bench;
    bench.batches = {random_sequences(lengths, model.vocabulary(), 0)};
    bench.optimizer = config.train.optimizer;
    bench.steps = 1;
    bench.skip = 0;
    const auto begin = std::chrono::steady_clock::now();
    const auto spent = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    // In turns, so that both see the same machine; the first turn warms up and is not counted.
    double turn = 0;
    for (int turns = 0; turns < 12 && (turns < 2 || spent() + turn < most_seconds); ++turns) {
      const double before = spent();
      few.run(bench);
      more.run(bench);
      turn = spent() - before;
      if (turns == 0) few.pass = more.pass = few.update = more.update = 1e30;
    }
    const double rest =
        high > low ? static_cast<double>(layers - low) / static_cast<double>(high - low) : 0;
    time.pass = few.pass + rest * std::max(0.0, more.pass - few.pass);
    time.update = few.update + rest * std::max(0.0, more.update - few.update);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage) throw;
    return std::nullopt;
  }
  keep_in_cache("step_times", key,
                {{"pass_s", time.pass},
                 {"update_s", time.update},
                 {"tokens", time.tokens},
                 {"model", config.model.choice.model},
                 {"method", config.train.method.name}});
  return time;
}

}  // namespace smidgen
