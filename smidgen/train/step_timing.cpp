#include "smidgen/train/step_timing.h"

#include <algorithm>
#include <chrono>
#include <map>

#include <torch/torch.h>

#include "smidgen/nn/host.h"
#include "smidgen/nn/tensor_memory.h"
#include "smidgen/train/optimizer.h"

namespace smidgen {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.empty() ? 0 : x[x.size() / 2];
}

// Median of a few runs after one that warms up.
double typical(const std::function<void()>& work) {
  work();
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(seconds_of(work));
  return median(times);
}

// y = x W^T and dx = dy W by the library's own product, which is what one would call without us.
double both_directions(int64_t rows, int64_t out, int64_t in, Arithmetic arithmetic) {
  const torch::NoGradGuard no_grad;
  const auto options = at::TensorOptions().dtype(scalar_type(arithmetic));
  const at::Tensor x = at::randn({rows, in}, options), w = at::randn({out, in}, options),
                   dy = at::randn({rows, out}, options);
  return typical([&] { at::linear(x, w); }) + typical([&] { at::matmul(dy, w); });
}

}  // namespace

std::pair<int64_t, int64_t> parse_batch(const std::string& text) {
  long long sequences = 0, length = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%lldx%lld%c", &sequences, &length, &rest) != 2 || sequences < 1 ||
      length < 2 || sequences > 1'000'000 || length > 10'000'000) {
    throw Error(ErrorKind::usage, str("'", text, "' is not a batch"), "--tokens",
                "sequences x length, as in 2x512; at least 1x2");
  }
  return {sequences, length};
}

std::vector<std::vector<int32_t>> random_sequences(const std::vector<int64_t>& lengths,
                                                   int64_t vocabulary, uint64_t seed) {
  const Rng rng(seed, "bench ids");
  uint64_t at = 0;
  std::vector<std::vector<int32_t>> ids;
  for (const int64_t length : lengths) {
    std::vector<int32_t>& row = ids.emplace_back();
    for (int64_t i = 0; i < length; ++i)
      row.push_back(static_cast<int32_t>(rng.uniform(at++) * static_cast<double>(vocabulary)));
  }
  return ids;
}

StepTimes time_steps(Model& model, Adapter& adapter, const StepBench& bench) {
  constexpr int kSlot = 1;
  adapter.attach(model, kSlot);
  StepTimes result;
  std::vector<double> times;
  for (int64_t step = 0; step < bench.steps; ++step) {
    ParamStore& store = adapter.store();
    Batch batch;
    const TensorMemory memory;
    const double pass = seconds_of([&] {
      const auto& ids = bench.batches[static_cast<size_t>(step) % bench.batches.size()];
      const std::vector<std::span<const int32_t>> sequences(ids.begin(), ids.end());
      store.zero_grad();
      batch.main = make_stream(sequences, std::vector<int>(sequences.size(), kSlot));
      batch.targets = next_token_targets(batch.main);
      batch.answers = batch.main.size() - batch.main.sequences();
      const at::Tensor sum = model.loss_sum(model.forward(batch.main), batch);
      sum.backward();
      result.losses.push_back(sum.item<double>() / static_cast<double>(batch.answers));
    });
    const double update = seconds_of([&] {
      store.scale_grad(1.0 / static_cast<double>(batch.answers));
      clip_gradients(store, bench.optimizer.max_grad_norm);
      optimizer_step(store, bench.optimizer, bench.optimizer.learning_rate);
    });
    result.activations = std::max(result.activations, memory.peak());
    if (step < bench.skip) continue;
    times.push_back(pass + update);
    result.pass = times.size() == 1 ? pass : std::min(result.pass, pass);
    result.update = times.size() == 1 ? update : std::min(result.update, update);
  }
  Adapter::detach(model, kSlot);
  if (times.empty()) return result;
  result.seconds = median(times);
  result.least = *std::min_element(times.begin(), times.end());
  result.most = *std::max_element(times.begin(), times.end());
  return result;
}

ProductRate product_rate(const Model& model, int64_t rows) {
  std::map<std::pair<int64_t, int64_t>, int64_t> shapes;
  for (const auto& host : model.hosts()) {
    if (!dynamic_cast<const LinearGroup*>(host.get())) continue;
    const BaseWeight& weight = host->weight().current();
    ++shapes[{weight.out_features(), weight.in_features()}];
  }
  ProductRate rate;
  for (const auto& [shape, count] : shapes) {
    const auto [out, in] = shape;
    const auto element = static_cast<double>(c10::elementSize(scalar_type(model.arithmetic())));
    const ProductShape one{
        .out = out,
        .in = in,
        .count = count,
        .flops = 4.0 * static_cast<double>(rows * out * in),
        .bytes = 2 * element * static_cast<double>(rows * in + out * in + rows * out),
        .seconds = both_directions(rows, out, in, model.arithmetic())};
    rate.seconds += static_cast<double>(count) * one.seconds;
    rate.flops += static_cast<double>(count) * one.flops;
    rate.shapes.push_back(one);
  }
  return rate;
}

double copy_rate() {
  constexpr int64_t kElements = int64_t{1} << 26;
  const at::Tensor from = at::ones({kElements}, at::kFloat);
  at::Tensor to = at::empty_like(from);
  return 2.0 * 4 * kElements / typical([&] { to.copy_(from); });
}

double square_rate(Arithmetic arithmetic) {
  constexpr int64_t kRows = 1024, kIn = 2048, kOut = 5632;
  return 4.0 * kRows * kIn * kOut / both_directions(kRows, kOut, kIn, arithmetic);
}

}  // namespace smidgen
