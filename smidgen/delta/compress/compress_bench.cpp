// Compressing a vector that lies in memory, against a plain read of it: twice is what the two
// passes need.
#include <cmath>

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/base/threads.h"
#include "smidgen/delta/compress/compress.h"
#include "smidgen/delta/compress/select.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/nn/delta.h"

namespace smidgen {
namespace {

constexpr int64_t kCount = int64_t{1} << 26;

const FlatVector& vector() {
  static TemporaryFolder folder;
  static const FlatVector made = [] {
    std::vector<float> values(kCount);
    const Rng rng(1, "bench");
    parallel_for(kCount, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        values[static_cast<size_t>(i)] = static_cast<float>(rng.normal(static_cast<uint64_t>(i)));
    });
    write_adapter(folder / "a", {{"peft_type", "LORA"}},
                  {{"x.lora_A.weight",
                    {Format::f32, {kCount / 4096, 4096}, std::as_bytes(std::span(values))}}},
                  nullptr);
    return adapter_vector(folder / "a");
  }();
  return made;
}

void report(benchmark::State& state, double reads) {
  state.SetBytesProcessed(static_cast<int64_t>(reads * static_cast<double>(state.iterations()) *
                                               static_cast<double>(kCount * 4)));
}

void ReadOnce(benchmark::State& state) {
  const FlatVector& flat = vector();
  const auto* x = reinterpret_cast<const float*>(flat.tensors[0].tuned.bytes.data());
  for (auto _ : state) {
    parallel_for(kCount, 1 << 16, [&](int64_t begin, int64_t end) {
      float sum[64] = {};
      for (int64_t i = begin; i + 64 <= end; i += 64)
        for (int64_t j = 0; j < 64; ++j) sum[j] += x[i + j];
      benchmark::DoNotOptimize(sum);
    });
  }
  report(state, 1);
}
BENCHMARK(ReadOnce)->UseRealTime()->Unit(benchmark::kMillisecond);

void Select(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(select_largest(vector(), kCount / 5, false));
  report(state, 1);
}
BENCHMARK(Select)->UseRealTime()->Unit(benchmark::kMillisecond);

void Compress(benchmark::State& state, const char* codec, double density) {
  for (auto _ : state)
    benchmark::DoNotOptimize(compress(vector(), {.codec = codec, .density = density}));
  report(state, 2);
}
BENCHMARK_CAPTURE(Compress, masks, "masks", 0.2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Compress, rice_5, "rice", 0.05)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Compress, rice_20, "rice", 0.2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Compress, rans_20, "rans", 0.2)->UseRealTime()->Unit(benchmark::kMillisecond);

void Decode(benchmark::State& state, const char* codec) {
  Signs signs(kCount);
  const float* x = reinterpret_cast<const float*>(vector().tensors[0].tuned.bytes.data());
  for (int64_t i = 0; i < kCount; ++i) {
    if (std::fabs(x[i]) > 1.2816f)
      (x[i] > 0 ? signs.positive : signs.negative)[static_cast<size_t>(i / 64)] |= uint64_t{1}
                                                                                   << (i % 64);
  }
  const SignCodec& coder = *codecs().find(codec).signs();
  const std::string coded = encode_signs(coder, signs.view());
  const SignBlocks blocks(coder, std::as_bytes(std::span(coded)), kCount, "bench");
  for (auto _ : state) benchmark::DoNotOptimize(blocks.decode());
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK_CAPTURE(Decode, rice, "rice")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Decode, rans, "rans")->UseRealTime()->Unit(benchmark::kMillisecond);

// Codes to numbers on one thread; bytes are those of the numbers.
void Unfold(benchmark::State& state, const char* codec, double density) {
  static TemporaryFolder folder;
  const fs::path path = folder / str(codec, density);
  if (!path_exists(path))
    write_delta(path, compress(vector(), {.codec = codec, .density = density}).contents);
  const DeltaFiles files = read_delta(path);
  const TensorDelta delta(files, files.tensors[0]);
  std::vector<float> out(kSignBlock);
  for (auto _ : state) {
    for (int64_t at = 0; at + kSignBlock <= kCount; at += kSignBlock) delta.read(at, out);
    benchmark::DoNotOptimize(out.data());
  }
  report(state, 1);
}
BENCHMARK_CAPTURE(Unfold, masks, "masks", 0.2)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Unfold, rice_5, "rice", 0.05)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Unfold, rice_20, "rice", 0.2)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Unfold, rice_50, "rice", 0.5)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Unfold, rans_20, "rans", 0.2)->Unit(benchmark::kMillisecond);

// A ternary matrix times some rows, against the same product of dense fp32.
void Multiply(benchmark::State& state) {
  const int64_t n = state.range(0), in = 2048, out = 2048;
  TernaryDelta t{at::empty({out, in / 64}, at::kLong), at::empty({out, in / 64}, at::kLong), in, 1};
  const Rng rng(2, "bench");
  auto* const p = t.positive.mutable_data_ptr<int64_t>();
  auto* const m = t.negative.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < t.positive.numel(); ++i) {
    const auto word = static_cast<uint64_t>(i);
    const uint64_t a = hash_name(str("a", word)), b = hash_name(str("b", word));
    p[i] = static_cast<int64_t>(a & ~b);
    m[i] = static_cast<int64_t>(b & ~a);
  }
  const at::Tensor x = at::randn({n, in});
  const at::Tensor dense = tile(Delta(t), 0, out);
  const bool ternary = state.range(1) != 0;
  for (auto _ : state)
    benchmark::DoNotOptimize(ternary ? times_transposed(x, t) : at::linear(x, dense));
  state.SetItemsProcessed(state.iterations() * n * in * out);
}
BENCHMARK(Multiply)
    ->ArgNames({"rows", "ternary"})
    ->ArgsProduct({{1, 4, 8, 16, 17, 32, 64, 512}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace smidgen
