// Merge methods over a base and two models of 2^26 elements that lie in memory as bf16: bytes are
// those of the three, read once, however often a method reads them.
#include <algorithm>
#include <array>
#include <vector>

#include <benchmark/benchmark.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/threads.h"
#include "smidgen/delta/merge/method.h"
#include "smidgen/delta/merge/tensor_engine.h"
#include "smidgen/kernels/bf16.h"
#include "smidgen/kernels/plain_values.h"

namespace smidgen {
namespace {

constexpr int64_t kRows = 1 << 14, kColumns = 1 << 12, kElements = kRows * kColumns;

// The base last, and models whose differences have the size of its last bits, as fine-tuning
// leaves.
const std::array<std::vector<Bf16>, 3>& models() {
  static const auto made = [] {
    std::array<std::vector<Bf16>, 3> all;
    for (auto& values : all) values.resize(kElements);
    parallel_for(kElements, 1 << 16, [&](int64_t begin, int64_t end) {
      const Rng rng(1, "bench");
      for (int64_t k = begin; k < end; ++k) {
        const uint64_t place = static_cast<uint64_t>(k) * 3;
        const auto draw = [&](uint64_t i) { return static_cast<float>(rng.normal(place + i)); };
        const float base = .02f * draw(0);
        all[2][k] = to_bf16(base);
        for (uint64_t i = 0; i < 2; ++i) all[i][k] = to_bf16(base + 3e-4f * draw(1 + i));
      }
    });
    return all;
  }();
  return made;
}

const std::byte* bytes(const std::vector<Bf16>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}
int64_t size(std::span<const float> values) {
  return static_cast<int64_t>(values.size());
}

void merge_bench(benchmark::State& state, const std::string& name) {
  const auto& from = models();
  const MergeMethod& method = merge_methods().find(name);
  MergeTask task{.tensor = "w",
                 .shape = {kRows, kColumns},
                 .elements = kElements,
                 .columns = kColumns,
                 .inputs = 2,
                 .base = method.traits().base != MergeTraits::Base::ignored};
  task.by_input.resize(task.inputs);
  for (const MergeField& field : method.fields()) {
    const double value = field.name == "density" ? .4 : field.standard.value_or(.5);
    if (field.scope == MergeField::Scope::shared)
      task.shared[field.name] = value;
    else
      for (auto& values : task.by_input) values[field.name] = value;
  }
  std::vector<Bf16> result(kElements);
  const TensorPorts ports{
      .read =
          [&](size_t input, int64_t begin, std::span<float> out) {
            read_values(Format::bf16, bytes(from[input]) + 2 * begin, size(out), out.data());
          },
      .write =
          [&](const Chunk& chunk, std::span<const float> values) {
            write_values(Format::bf16, size(values), values.data(),
                         reinterpret_cast<std::byte*>(result.data() + chunk.begin), "w");
          }};
  for (auto _ : state) merge_tensor(method.traits(), *method.start(task), {&task, ports});
  benchmark::DoNotOptimize(result.data());
  state.SetBytesProcessed(state.iterations() * kElements * 2 * static_cast<int64_t>(from.size()));
}

[[maybe_unused]] const bool listed = [] {
  for (const std::string name : {"task_arithmetic", "ties", "dare_ties", "breadcrumbs", "della"})
    benchmark::RegisterBenchmark(name.c_str(), merge_bench, name)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
}  // namespace smidgen
