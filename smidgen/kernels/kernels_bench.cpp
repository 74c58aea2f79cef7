// Each kernel beside the composition of ATen calls that it replaces, at the shapes of a 135M model
// with 1024 rows (width 576, feed-forward 1536, 9 heads of 64, vocabulary 49152). Argument 0 is the
// kernel, 1 is ATen.
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "smidgen/kernels/bf16.h"
#include "smidgen/kernels/block_product.h"
#include "smidgen/kernels/cross_entropy.h"
#include "smidgen/kernels/flash_attention.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/kernels/formats/unpack_row.h"
#include "smidgen/kernels/optimiser_steps.h"
#include "smidgen/kernels/rms_norm.h"
#include "smidgen/kernels/rope.h"
#include "smidgen/kernels/swiglu.h"

namespace smidgen {
namespace {

constexpr int64_t kRows = 1024;

float* floats(const at::Tensor& x) {
  return x.data_ptr<float>();
}
Bf16* halves(const at::Tensor& x) {
  return static_cast<Bf16*>(x.data_ptr());
}

void rms_norm_bench(benchmark::State& state) {
  const at::Tensor x = at::randn({kRows, 576}), w = at::randn({576}), dy = at::randn({kRows, 576});
  at::Tensor y = at::empty_like(x), dx = at::empty_like(x);
  for (auto _ : state) {
    if (state.range(0) == 0) {
      rms_norm_forward(kRows, 576, floats(x), floats(w), 1e-5f, floats(y));
      rms_norm_backward(kRows, 576, floats(x), floats(w), 1e-5f, floats(dy), nullptr, floats(dx),
                        nullptr);
    } else {
      const at::Tensor r = at::rsqrt(x.square().mean(-1, true) + 1e-5);
      y = w * (x * r);
      const at::Tensor g = w * dy;
      dx = g * r - x * (r.pow(3) / 576) * (g * x).sum(-1, true);
    }
  }
  state.SetBytesProcessed(state.iterations() * kRows * 576 * 4 * 5);
}
BENCHMARK(rms_norm_bench)->Arg(0)->Arg(1)->UseRealTime();

void swiglu_bench(benchmark::State& state) {
  const auto dtype = state.range(1) ? at::kBFloat16 : at::kFloat;
  const at::Tensor gate = at::randn({kRows, 1536}).to(dtype),
                   up = at::randn({kRows, 1536}).to(dtype);
  const at::Tensor dy = at::randn({kRows, 1536}).to(dtype);
  at::Tensor y = at::empty_like(gate), dg = at::empty_like(gate), du = at::empty_like(gate);
  for (auto _ : state) {
    if (state.range(0) == 1) {
      const at::Tensor silu = at::silu(gate);
      y = silu * up;
      du = dy * silu;
      dg = at::silu_backward(dy * up, gate);
    } else if (state.range(1)) {
      swiglu_forward(kRows, 1536, halves(gate), 1536, halves(up), 1536, halves(y));
      swiglu_backward(kRows, 1536, halves(gate), 1536, halves(up), 1536, halves(dy), halves(dg),
                      halves(du), 1536);
    } else {
      swiglu_forward(kRows, 1536, floats(gate), 1536, floats(up), 1536, floats(y));
      swiglu_backward(kRows, 1536, floats(gate), 1536, floats(up), 1536, floats(dy), floats(dg),
                      floats(du), 1536);
    }
  }
  state.SetBytesProcessed(state.iterations() * kRows * 1536 * (state.range(1) ? 2 : 4) * 8);
}
BENCHMARK(swiglu_bench)->ArgsProduct({{0, 1}, {0, 1}})->UseRealTime();

void rope_bench(benchmark::State& state) {
  const at::Tensor x = at::randn({kRows, 9, 64}), cos = at::randn({kRows, 32}),
                   sin = at::randn({kRows, 32});
  const at::Tensor positions = at::arange(kRows, at::kLong);
  at::Tensor y = at::empty_like(x);
  for (auto _ : state) {
    if (state.range(0) == 0) {
      rope_rotate(Turn::forward, kRows, 9, 64, floats(x), 576, floats(cos), floats(sin),
                  positions.const_data_ptr<int64_t>(), floats(y), 576);
    } else {
      const at::Tensor a = x.narrow(2, 0, 32), b = x.narrow(2, 32, 32);
      const at::Tensor c = cos.index_select(0, positions).unsqueeze(1);
      const at::Tensor s = sin.index_select(0, positions).unsqueeze(1);
      y = at::cat({a * c - b * s, b * c + a * s}, -1);
    }
  }
  state.SetBytesProcessed(state.iterations() * kRows * 576 * 4 * 2);
}
BENCHMARK(rope_bench)->Arg(0)->Arg(1)->UseRealTime();

void cross_entropy_bench(benchmark::State& state) {
  const int64_t n = 256, v = 49152;
  const at::Tensor logits = at::randn({n, v}), targets = at::randint(0, v, {n}, at::kLong);
  at::Tensor gradient = at::empty_like(logits), losses = at::empty({n});
  for (auto _ : state) {
    if (state.range(0) == 0) {
      cross_entropy_rows(n, v, floats(logits), targets.const_data_ptr<int64_t>(), nullptr,
                         floats(losses), floats(gradient));
    } else {
      const at::Tensor logs = at::log_softmax(logits, -1);
      losses = -logs.gather(1, targets.unsqueeze(1));
      gradient = at::exp(logs);
      gradient.scatter_add_(1, targets.unsqueeze(1), at::full({n, 1}, -1.0f));
    }
  }
  state.SetItemsProcessed(state.iterations() * n * v);
}
BENCHMARK(cross_entropy_bench)->Arg(0)->Arg(1)->UseRealTime();

void adamw_bench(benchmark::State& state) {
  const int64_t n = 1 << 22;
  at::Tensor p = at::randn({n}), g = at::randn({n}), m = at::zeros({n}), v = at::zeros({n});
  for (auto _ : state) {
    if (state.range(0) == 0) {
      adamw_step({1e-4, 0.9, 0.999, 1e-8, 0.01, 3}, n, floats(p), floats(g), floats(m), floats(v));
    } else {
      p.mul_(1 - 1e-6);
      m.lerp_(g, 0.1);
      v.mul_(0.999).addcmul_(g, g, 0.001);
      p.addcdiv_(m, (v.sqrt() / 0.05).add_(1e-8), -1e-4);
    }
  }
  state.SetItemsProcessed(state.iterations() * n);
}
BENCHMARK(adamw_bench)->Arg(0)->Arg(1)->UseRealTime();

// items_per_second is floating-point operations of the causal half, forward and backward.
// Arguments: kernel or ATen, bf16, sequences, rows of each; 9 heads of 64 read 3 of keys.
void flash_attention_bench(benchmark::State& state) {
  const auto dtype = state.range(1) ? at::kBFloat16 : at::kFloat;
  const int64_t sequences = state.range(2), length = state.range(3), n = sequences * length;
  const at::Tensor q = at::randn({n, 9, 64}).to(dtype), k = at::randn({n, 3, 64}).to(dtype);
  const at::Tensor v = at::randn({n, 3, 64}).to(dtype), dout = at::randn({n, 9, 64}).to(dtype);
  at::Tensor out = at::empty_like(q), log_sums = at::empty({n, 9});
  at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
  std::vector<int64_t> starts;
  for (int64_t s = 0; s <= sequences; ++s) starts.push_back(s * length);
  FlashAttention shape{9, 3, 64, starts, starts};
  shape.scale = 0.125f;
  const auto ours = [&](auto element) {
    using T = decltype(element);
    const auto rows = [](const at::Tensor& x) {
      return HeadRows<T>{static_cast<T*>(x.data_ptr()), x.stride(0), 64};
    };
    const auto read = [&](const at::Tensor& x) {
      return HeadRows<const T>{rows(x).data, x.stride(0), 64};
    };
    flash_attention<T>(shape, read(q), read(k), read(v), rows(out), floats(log_sums));
    flash_attention_backward<T>(shape, read(q), read(k), read(v), read(out), floats(log_sums),
                                read(dout), rows(dq), rows(dk), rows(dv));
  };
  const auto batched = [&](const at::Tensor& x) {
    return x.unflatten(0, {sequences, length}).transpose(1, 2);
  };
  for (auto _ : state) {
    if (state.range(0) == 1) {
      const auto [y, logs] = at::_scaled_dot_product_flash_attention_for_cpu(
          batched(q), batched(k), batched(v), 0.0, true, {}, 0.125);
      benchmark::DoNotOptimize(at::_scaled_dot_product_flash_attention_for_cpu_backward(
          batched(dout), batched(q), batched(k), batched(v), y, logs, 0.0, true, {}, 0.125));
    } else if (state.range(1)) {
      ours(Bf16());
    } else {
      ours(float());
    }
  }
  state.SetItemsProcessed(state.iterations() * 7 * n * (length + 1) * 9 * 64);
}
BENCHMARK(flash_attention_bench)
    ->ArgsProduct({{0, 1}, {1, 0}, {2}, {512}})
    ->ArgsProduct({{0, 1}, {1}, {1}, {2048, 8192}})
    ->UseRealTime();

// items_per_second is operations. Arguments: storage, bf16 arithmetic, rows, transposed.
void base_weight_bench(benchmark::State& state) {
  constexpr const char* kStorage[] = {"fp32", "bf16", "int8"};
  const auto arithmetic = state.range(1) ? Arithmetic::bf16 : Arithmetic::fp32;
  const auto weight = find_weight_format(kStorage[state.range(0)])
                          .pack(weight_source(at::randn({3072, 576})), arithmetic);
  const int64_t n = state.range(2);
  const at::Tensor x = at::randn({n, 576}).to(weight->dtype());
  const at::Tensor dy = at::randn({n, 3072}).to(weight->dtype());
  for (auto _ : state) {
    benchmark::DoNotOptimize(state.range(3) ? weight->matmul_t(dy) : weight->matmul(x));
  }
  state.SetItemsProcessed(state.iterations() * 2 * n * 576 * 3072);
}
BENCHMARK(base_weight_bench)->ArgsProduct({{0, 1, 2}, {0, 1}, {1, 1024}, {0, 1}})->UseRealTime();

// A matrix of any codes in a block format; its scales are small numbers.
std::vector<std::byte> blocks_of(Format format, int64_t elements) {
  const FormatInfo& type = info(format);
  return std::vector<std::byte>(static_cast<size_t>(elements / type.elements * type.bytes),
                                std::byte{0x25});
}

constexpr Format kBlocks[] = {Format::q4_0, Format::q4_1, Format::q5_0, Format::q5_1, Format::q8_0,
                              Format::q2_k, Format::q3_k, Format::q4_k, Format::q5_k, Format::q6_k};

// Blocks to bf16 on one core, items are weights: what a product of many rows does before it
// multiplies.
void unpack_row_bench(benchmark::State& state) {
  const Format format = kBlocks[state.range(0)];
  constexpr int64_t kRow = 1536, kMatrix = 576 * kRow;
  const std::vector<std::byte> row = blocks_of(format, kMatrix);
  std::vector<Bf16> out(static_cast<size_t>(kRow));
  for (auto _ : state) {
    for (int64_t i = 0; i < kMatrix; i += kRow) {
      unpack_row(format, row.data(), i, i + kRow, out.data());
      benchmark::DoNotOptimize(out.data());
    }
  }
  state.SetLabel(std::string(info(format).name));
  state.SetItemsProcessed(state.iterations() * kMatrix);
}
BENCHMARK(unpack_row_bench)->DenseRange(0, static_cast<int64_t>(std::size(kBlocks)) - 1);

// A product of few rows with blocks as they lie in the file, on all threads; bytes are those of the
// matrix.
void block_product_bench(benchmark::State& state) {
  const Format format = kBlocks[state.range(0)];
  const int64_t m = state.range(1), k = state.range(2), n = 3072;
  if (!has_block_product(format)) return state.SkipWithError("no kernel");
  const std::vector<std::byte> matrix = blocks_of(format, n * k);
  std::vector<const std::byte*> rows;
  for (int64_t row = 0; row < n; ++row)
    rows.push_back(matrix.data() + row * static_cast<int64_t>(matrix.size()) / n);
  const std::vector<Format> formats(static_cast<size_t>(n), format);
  const at::Tensor x = at::randn({m, k});
  const FixedRows a = to_fixed(m, k, floats(x), k);
  for (auto _ : state) {
    multiply_blocks(a, {rows, formats},
                    [](const ResultBlock& block) { benchmark::DoNotOptimize(block.values); });
  }
  state.SetLabel(std::string(info(format).name));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(matrix.size()));
}
BENCHMARK(block_product_bench)
    ->ArgsProduct({{0, 1, 4}, {1, 8}, {576, 1536}})
    ->ArgsProduct({{7, 9}, {1, 8}, {1536}})
    ->UseRealTime();

}  // namespace
}  // namespace smidgen
