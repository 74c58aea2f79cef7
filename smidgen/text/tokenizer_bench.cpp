// Lines of a file to ids and back. bench/tokenizer.py names the files and compares with tokenizers:
//   SMIDGEN_BENCH_MODEL   a model folder or GGUF file
//   SMIDGEN_BENCH_TEXT    a text file
#include <cstdlib>

#include <benchmark/benchmark.h>

#include "smidgen/base/fs.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

struct Input {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::string text;
  std::vector<std::string_view> lines;
  std::vector<std::vector<int32_t>> ids;

  Input() {
    const char* model = std::getenv("SMIDGEN_BENCH_MODEL");
    const char* file = std::getenv("SMIDGEN_BENCH_TEXT");
    if (!model || !file) return;
    tokenizer = load_tokenizer(open_model(model));
    text = read_file(file);
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      lines.push_back(std::string_view(text).substr(at, end - at));
      at = end + 1;
    }
    for (const std::string_view line : lines) ids.push_back(tokenizer->encode(line));
  }
};

const Input& input() {
  static const Input value;
  return value;
}

void encode_lines(benchmark::State& state) {
  if (!input().tokenizer) return state.SkipWithError("SMIDGEN_BENCH_MODEL and SMIDGEN_BENCH_TEXT");
  for (auto _ : state) {
    for (const std::string_view line : input().lines)
      benchmark::DoNotOptimize(input().tokenizer->encode(line));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(input().text.size()));
}
BENCHMARK(encode_lines)->Unit(benchmark::kMillisecond)->UseRealTime();

void encode_with_offsets(benchmark::State& state) {
  if (!input().tokenizer) return state.SkipWithError("SMIDGEN_BENCH_MODEL and SMIDGEN_BENCH_TEXT");
  for (auto _ : state) {
    for (const std::string_view line : input().lines)
      benchmark::DoNotOptimize(input().tokenizer->encode_with_offsets(line));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(input().text.size()));
}
BENCHMARK(encode_with_offsets)->Unit(benchmark::kMillisecond)->UseRealTime();

void decode_lines(benchmark::State& state) {
  if (!input().tokenizer) return state.SkipWithError("SMIDGEN_BENCH_MODEL and SMIDGEN_BENCH_TEXT");
  for (auto _ : state) {
    for (const std::vector<int32_t>& ids : input().ids)
      benchmark::DoNotOptimize(input().tokenizer->decode(ids));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(input().text.size()));
}
BENCHMARK(decode_lines)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace smidgen
