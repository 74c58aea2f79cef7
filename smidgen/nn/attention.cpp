#include "smidgen/nn/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/ops.h"

namespace smidgen {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Consecutive sequences with the same shape and mask: one batch. `queries` and `keys` are per
// sequence.
struct Run {
  int64_t query0, key0, count, queries, keys, prefix;
};

// 1 where query i sees key j. Undefined where every query sees every key.
at::Tensor visible(const AttentionOptions& options, const Run& run) {
  const int64_t m = run.queries, l = run.keys;
  if (options.mask == MaskKind::full) return {};
  if (m == 1 && options.mask != MaskKind::window) return {};
  if (m == 1 && options.window >= l) return {};
  const at::Tensor key = torch::arange(l, at::kLong).unsqueeze(0);
  const at::Tensor position = torch::arange(l - m, l, at::kLong).unsqueeze(1);
  at::Tensor sees = key <= position;
  if (options.mask == MaskKind::window) sees = sees & (key > position - options.window);
  if (options.mask == MaskKind::prefix) sees = sees | (key < run.prefix);
  return sees;
}

bool is_square_causal(const AttentionOptions& options, const Run& run) {
  if (run.queries != run.keys) return false;
  switch (options.mask) {
    case MaskKind::causal:
      return true;
    case MaskKind::window:
      return options.window >= run.keys;
    case MaskKind::prefix:
      return run.prefix <= 1;
    case MaskKind::full:
      return false;
  }
  return false;
}

double scale_of(const AttentionOptions& options, const at::Tensor& q) {
  return options.scale != 0 ? options.scale : 1 / std::sqrt(static_cast<double>(q.size(2)));
}

[[noreturn]] void refuse(const std::string& found) {
  throw Error(ErrorKind::mismatch, "[attention] " + found);
}

void check_starts(const char* which, std::span<const int64_t> starts, int64_t rows) {
  if (starts.empty() || starts.front() != 0 || starts.back() != rows ||
      !std::is_sorted(starts.begin(), starts.end())) {
    refuse(str(which, " offsets ", shape_str(starts), " do not cover ", rows, " rows"));
  }
}

std::vector<Run> runs_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                         const AttentionOptions& options) {
  if (q.dim() != 3 || k.dim() != 3 || v.sizes() != k.sizes() || q.size(2) != k.size(2) ||
      k.size(1) < 1 || q.size(1) % k.size(1) != 0) {
    refuse(str("q ", shape_str(q.sizes()), ", k ", shape_str(k.sizes()), ", v ",
               shape_str(v.sizes())));
  }
  check_starts("query", query_starts, q.size(0));
  check_starts("key", key_starts, k.size(0));
  if (query_starts.size() != key_starts.size()) {
    refuse(str(query_starts.size() - 1, " query and ", key_starts.size() - 1, " key sequences"));
  }
  const size_t sequences = query_starts.size() - 1;
  if (options.mask == MaskKind::window && options.window < 1) {
    refuse(str("a window of ", options.window, " keys"));
  }
  if (options.mask == MaskKind::prefix && options.prefix.size() != sequences) {
    refuse(str(sequences, " sequences and ", options.prefix.size(), " prefixes"));
  }
  std::vector<Run> runs;
  for (size_t s = 0; s < sequences; ++s) {
    const Run one{query_starts[s],
                  key_starts[s],
                  1,
                  query_starts[s + 1] - query_starts[s],
                  key_starts[s + 1] - key_starts[s],
                  options.mask == MaskKind::prefix ? options.prefix[s] : 0};
    if (one.queries > one.keys && options.mask != MaskKind::full) {
      refuse(str("sequence ", s, " has ", one.queries, " queries and ", one.keys, " keys"));
    }
    if (!runs.empty() && runs.back().queries == one.queries && runs.back().keys == one.keys &&
        runs.back().prefix == one.prefix) {
      ++runs.back().count;
    } else {
      runs.push_back(one);
    }
  }
  // Without queries there is nothing to compute, without keys the output is zero.
  std::erase_if(runs, [](const Run& run) { return run.queries == 0 || run.keys == 0; });
  return runs;
}

// The rows of one run as torch's [batch, head, row, width].
at::Tensor queries_of(const at::Tensor& x, const Run& run) {
  return x.narrow(0, run.query0, run.count * run.queries)
      .unflatten(0, {run.count, run.queries})
      .transpose(1, 2);
}

at::Tensor keys_of(const at::Tensor& x, const Run& run) {
  return x.narrow(0, run.key0, run.count * run.keys)
      .unflatten(0, {run.count, run.keys})
      .transpose(1, 2);
}

// What torch's flash kernel is told about the mask.
struct FlashMask {
  bool causal;
  std::optional<at::Tensor> added;
};

FlashMask flash_mask(const AttentionOptions& options, const Run& run, at::ScalarType dtype) {
  if (is_square_causal(options, run)) return {true, std::nullopt};
  const at::Tensor sees = visible(options, run);
  if (!sees.defined()) return {false, std::nullopt};
  at::Tensor added = torch::zeros(sees.sizes(), at::TensorOptions().dtype(dtype));
  added.masked_fill_(sees.logical_not(), -std::numeric_limits<double>::infinity());
  return {false, added.unsqueeze(0).unsqueeze(0)};
}

struct FlashAttention : Function<FlashAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const std::vector<Run>* runs,
                            const AttentionOptions* options, bool recording) {
    // The kernel reads rows of a head with unit stride.
    const auto prepared = [](const at::Tensor& x) { return x.stride(2) == 1 ? x : x.contiguous(); };
    const at::Tensor q = prepared(q_in), k = prepared(k_in), v = prepared(v_in);
    const int64_t heads = q.size(1), kv_heads = k.size(1), group = heads / kv_heads;
    const double scale = scale_of(*options, q);
    at::Tensor out = at::zeros(q.sizes(), q.options());
    variable_list saved{q, k, v, out};
    for (const Run& run : *runs) {
      const FlashMask mask = flash_mask(*options, run, q.scalar_type());
      at::Tensor rows = queries_of(q, run);
      // One query per sequence: heads that share keys become rows of one small product.
      const bool fold = run.queries == 1 && group > 1 && !mask.added;
      if (fold) rows = rows.reshape({run.count, kv_heads, group, q.size(2)});
      auto [part, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(
          rows, keys_of(k, run), keys_of(v, run), 0.0, mask.causal && !fold, mask.added, scale);
      if (fold) part = part.reshape({run.count, heads, 1, q.size(2)});
      queries_of(out, run).copy_(part);
      if (recording) saved.push_back(log_sum);
    }
    if (recording) {
      // `out` is an output: saved through the context so that its graph does not hold itself.
      ctx->save_for_backward(saved);
      ctx->saved_data["scale"] = scale;
      std::vector<int64_t> flat;
      for (const Run& r : *runs) {
        flat.insert(flat.end(), {r.query0, r.key0, r.count, r.queries, r.keys, r.prefix});
      }
      ctx->saved_data["runs"] = flat;
      ctx->saved_data["mask"] = static_cast<int64_t>(options->mask);
      ctx->saved_data["window"] = options->window;
    }
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const at::Tensor dout = grads[0].contiguous();
    const double scale = ctx->saved_data["scale"].toDouble();
    AttentionOptions options;
    options.mask = static_cast<MaskKind>(ctx->saved_data["mask"].toInt());
    options.window = ctx->saved_data["window"].toInt();
    const std::vector<int64_t> flat = ctx->saved_data["runs"].toIntVector();
    at::Tensor dq = at::zeros(q.sizes(), q.options()), dk = at::zeros(k.sizes(), k.options());
    at::Tensor dv = at::zeros(v.sizes(), v.options());
    const int64_t kv_heads = k.size(1), group = q.size(1) / kv_heads, width = q.size(2);
    for (size_t i = 0; i * 6 < flat.size(); ++i) {
      const int64_t* r = flat.data() + i * 6;
      const Run run{r[0], r[1], r[2], r[3], r[4], r[5]};
      const FlashMask mask = flash_mask(options, run, q.scalar_type());
      const bool fold = run.queries == 1 && group > 1 && !mask.added;
      const auto rows = [&](const at::Tensor& x) {
        const at::Tensor all = queries_of(x, run);
        return fold ? all.reshape({run.count, kv_heads, group, width}) : all;
      };
      auto [dq_part, dk_part, dv_part] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          rows(dout), rows(q), keys_of(k, run), keys_of(v, run), rows(out), saved[4 + i], 0.0,
          mask.causal && !fold, mask.added, scale);
      queries_of(dq, run).copy_(fold ? dq_part.reshape({run.count, q.size(1), 1, width}) : dq_part);
      keys_of(dk, run).copy_(dk_part);
      keys_of(dv, run).copy_(dv_part);
    }
    return {dq, dk, dv, {}, {}, {}};
  }
};

at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const std::vector<Run>& runs, const AttentionOptions& options) {
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t group = q.size(1) / k.size(1);
  const double scale = scale_of(options, q);
  at::Tensor out = torch::zeros(q.sizes(), q.options().dtype(wide));
  for (const Run& run : runs) {
    const at::Tensor keys = keys_of(k, run).to(wide).repeat_interleave(group, 1);
    const at::Tensor values = keys_of(v, run).to(wide).repeat_interleave(group, 1);
    at::Tensor scores = torch::matmul(queries_of(q, run).to(wide), keys.transpose(2, 3)) * scale;
    if (options.softcap != 0) scores = torch::tanh(scores / options.softcap) * options.softcap;
    const at::Tensor sees = visible(options, run);
    if (sees.defined()) {
      scores = scores.masked_fill(sees.logical_not(), -std::numeric_limits<double>::infinity());
    }
    const at::Tensor part = torch::matmul(torch::softmax(scores, -1), values);
    const at::Tensor flat = part.transpose(1, 2).flatten(0, 1);
    out = torch::cat(
        {out.narrow(0, 0, run.query0), flat,
         out.narrow(0, run.query0 + flat.size(0), out.size(0) - run.query0 - flat.size(0))});
  }
  return out.to(q.scalar_type());
}

}  // namespace

at::Tensor attention_ref(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                         const AttentionOptions& options) {
  return reference(q, k, v, runs_of(q, k, v, query_starts, key_starts, options), options);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                     const AttentionOptions& options) {
  const std::vector<Run> runs = runs_of(q, k, v, query_starts, key_starts, options);
  if (kernels_mode() == KernelsMode::ref || options.softcap != 0) {
    return reference(q, k, v, runs, options);
  }
  const bool recording =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return FlashAttention::apply(q, k.to(q.scalar_type()), v.to(q.scalar_type()), &runs, &options,
                               recording);
}

}  // namespace smidgen
