#include "smidgen/nn/generate_timing.h"

#include <chrono>

#include "smidgen/base/error.h"
#include "smidgen/nn/generate.h"

namespace smidgen {

GenerateRates time_generation(const Model& model, const GenerateBench& bench) {
  SMIDGEN_ASSERT(bench.new_tokens >= 2);
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  };
  GenerateRates rates;
  for (int64_t run = 0; run <= bench.runs; ++run) {
    std::vector<Clock::time_point> times;
    GenerateOptions options;
    options.sample.greedy = true;
    options.max_new_tokens = bench.new_tokens;
    options.on_token = [&](size_t, int32_t) { times.push_back(Clock::now()); };
    const auto begin = Clock::now();
    const Generation made =
        generate(model, {.ids = bench.prompt, .slot = bench.slot, .stream = 0}, options);
    if (made.finish != Finish::length) {
      throw Error(ErrorKind::usage,
                  str("a prompt of ", bench.prompt.size(), " and ", bench.new_tokens,
                      " new tokens do not fit into the model's context of ", model.context()),
                  "--context");
    }
    if (run == 0) continue;
    rates.prefill.push_back(static_cast<double>(bench.prompt.size()) /
                            seconds(begin, times.front()));
    rates.decode.push_back(static_cast<double>(times.size() - 1) /
                           seconds(times.front(), times.back()));
  }
  return rates;
}

}  // namespace smidgen
