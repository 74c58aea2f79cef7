#include "smidgen/nn/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/flash_attention.h"
#include "smidgen/kernels/query_attention.h"
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

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
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
  for (size_t s = 0; s < sequences && options.mask != MaskKind::full; ++s) {
    const int64_t queries = query_starts[s + 1] - query_starts[s],
                  keys = key_starts[s + 1] - key_starts[s];
    if (queries > keys)
      refuse(str("sequence ", s, " has ", queries, " queries and ", keys, " keys"));
  }
}

std::vector<Run> runs_of(std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                         const AttentionOptions& options) {
  std::vector<Run> runs;
  for (size_t s = 0; s + 1 < query_starts.size(); ++s) {
    const Run one{query_starts[s],
                  key_starts[s],
                  1,
                  query_starts[s + 1] - query_starts[s],
                  key_starts[s + 1] - key_starts[s],
                  options.mask == MaskKind::prefix ? options.prefix[s] : 0};
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

template <class T>
HeadRows<T> rows_of(const at::Tensor& x) {
  return {static_cast<T*>(const_cast<void*>(x.const_data_ptr())), x.stride(0), x.stride(1)};
}

// Calls body with a value of the kernel's element type.
template <class Body>
void with_element(const at::Tensor& x, Body&& body) {
  if (x.scalar_type() == at::kBFloat16) {
    body(Bf16());
  } else {
    body(float());
  }
}

// The kernels read rows of a head with unit stride.
at::Tensor prepared(const at::Tensor& x) {
  return x.stride(2) == 1 ? x : x.contiguous();
}

bool single_queries(std::span<const int64_t> starts) {
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    if (starts[s + 1] - starts[s] > 1) return false;
  }
  return true;
}

// Of sequences with one query each, as they are when they are continued.
at::Tensor attend(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                  const FlashAttention& shape) {
  const at::Tensor q = prepared(q_in), k = prepared(k_in), v = prepared(v_in);
  at::Tensor out = at::empty(q.sizes(), q.options());
  with_element(q, [&](auto element) {
    using T = decltype(element);
    query_attention<T>(shape, rows_of<const T>(q), rows_of<const T>(k), rows_of<const T>(v),
                       rows_of<T>(out));
  });
  return out;
}

struct FlashFunction : Function<FlashFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const FlashAttention* shape, bool recording) {
    const at::Tensor q = prepared(q_in), k = prepared(k_in), v = prepared(v_in);
    at::Tensor out = at::empty(q.sizes(), q.options());
    at::Tensor log_sums = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
    with_element(q, [&](auto element) {
      using T = decltype(element);
      flash_attention<T>(*shape, rows_of<const T>(q), rows_of<const T>(k), rows_of<const T>(v),
                         rows_of<T>(out), log_sums.data_ptr<float>());
    });
    if (recording) {
      // Values that are columns of a product from which q and k were turned away would keep all of
      // its memory.
      const bool alone = !v.is_contiguous() && !v.storage().is_alias_of(q.storage());
      // `out` is an output: saved through the context so that its graph does not hold itself.
      ctx->save_for_backward({q, k, alone ? v.contiguous() : v, out, log_sums});
      const auto keep = [&](const char* name, std::span<const int64_t> values) {
        ctx->saved_data[name] = std::vector<int64_t>(values.begin(), values.end());
      };
      keep("query_starts", shape->query_starts);
      keep("key_starts", shape->key_starts);
      keep("prefix", shape->prefix);
      ctx->saved_data["mask"] = static_cast<int64_t>(shape->mask);
      ctx->saved_data["window"] = shape->window;
      ctx->saved_data["scale"] = static_cast<double>(shape->scale);
      ctx->saved_data["softcap"] = static_cast<double>(shape->softcap);
    }
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3],
                     &log_sums = saved[4], dout = grads[0].contiguous();
    const auto kept = [&](const char* name) { return ctx->saved_data[name].toIntVector(); };
    const std::vector<int64_t> query_starts = kept("query_starts"), key_starts = kept("key_starts"),
                               prefix = kept("prefix");
    FlashAttention shape{q.size(1), k.size(1), q.size(2), query_starts, key_starts};
    shape.mask = static_cast<MaskKind>(ctx->saved_data["mask"].toInt());
    shape.window = ctx->saved_data["window"].toInt();
    shape.prefix = prefix;
    shape.scale = static_cast<float>(ctx->saved_data["scale"].toDouble());
    shape.softcap = static_cast<float>(ctx->saved_data["softcap"].toDouble());
    at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options());
    at::Tensor dv = at::empty(v.sizes(), v.options());
    with_element(q, [&](auto element) {
      using T = decltype(element);
      flash_attention_backward<T>(shape, rows_of<const T>(q), rows_of<const T>(k),
                                  rows_of<const T>(v), rows_of<const T>(out),
                                  log_sums.data_ptr<float>(), rows_of<const T>(dout),
                                  rows_of<T>(dq), rows_of<T>(dk), rows_of<T>(dv));
    });
    return {dq, dk, dv, {}, {}};
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
  check(q, k, v, query_starts, key_starts, options);
  return reference(q, k, v, runs_of(query_starts, key_starts, options), options);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                     const AttentionOptions& options) {
  const at::ScalarType dtype = q.scalar_type();
  if (kernels_mode() == KernelsMode::ref || (dtype != at::kFloat && dtype != at::kBFloat16)) {
    return attention_ref(q, k, v, query_starts, key_starts, options);
  }
  check(q, k, v, query_starts, key_starts, options);
  FlashAttention shape{q.size(1), k.size(1), q.size(2), query_starts, key_starts};
  shape.mask = options.mask;
  shape.window = options.window;
  if (options.mask == MaskKind::prefix) shape.prefix = options.prefix;
  shape.scale = static_cast<float>(scale_of(options, q));
  shape.softcap = static_cast<float>(options.softcap);
  const bool recording =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!recording && single_queries(query_starts)) return attend(q, k.to(dtype), v.to(dtype), shape);
  if (!recording)
    return FlashFunction::forward(nullptr, q, k.to(dtype), v.to(dtype), &shape, recording);
  return FlashFunction::apply(q, k.to(dtype), v.to(dtype), &shape, recording);
}

}  // namespace smidgen
