#include "smidgen/kernels/cross_entropy.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/ops_internal.h"

namespace smidgen {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Elements of logits that exist at a time: 32 MB in bf16, and rows enough for a fast product.
constexpr int64_t kBlockElements = int64_t{1} << 24;

int64_t block_rows(int64_t vocabulary) {
  return std::clamp<int64_t>(kBlockElements / vocabulary, 16, 4096);
}

void check(const char* op, int64_t n, int64_t v, const at::Tensor& targets,
           const at::Tensor& weights) {
  if (targets.dim() != 1 || targets.size(0) != n || targets.scalar_type() != at::kLong) {
    throw Error(ErrorKind::mismatch,
                str("[", op, "] ", n, " rows and targets ", c10::toString(targets.scalar_type()),
                    " ", shape_str(targets.sizes())));
  }
  if (weights.defined() && (weights.dim() != 1 || weights.size(0) != n)) {
    throw Error(ErrorKind::mismatch,
                str("[", op, "] ", n, " rows and weights ", shape_str(weights.sizes())));
  }
  const at::Tensor packed = targets.contiguous();
  const int64_t* target = packed.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    if (target[i] != kIgnoreTarget && (target[i] < 0 || target[i] >= v)) {
      throw Error(ErrorKind::usage, str("[", op, "] target ", target[i], " of row ", i,
                                        " is outside the vocabulary of ", v));
    }
  }
}

// Losses are added in double, in row order.
at::Tensor total(const std::vector<float>& losses) {
  double sum = 0;
  for (float loss : losses) sum += loss;
  return at::scalar_tensor(sum, at::kFloat);
}

// Functions take what may be missing as optional: torch inspects the device of every tensor it is
// handed.
std::optional<at::Tensor> given(const at::Tensor& weights) {
  if (!weights.defined()) return std::nullopt;
  return weights.detach().to(at::kFloat).contiguous();
}

const float* pointer(const at::Tensor& weights) {
  return weights.defined() ? data<float>(weights) : nullptr;
}

// `recording` is asked outside: inside forward() gradient mode is always off.
struct CrossEntropy : Function<CrossEntropy> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits_in,
                            const at::Tensor& targets, const std::optional<at::Tensor>& weights,
                            bool recording) {
    const at::Tensor logits = logits_in.contiguous();
    const int64_t n = logits.size(0), v = logits.size(1);
    at::Tensor gradient =
        recording && logits_in.requires_grad() ? at::empty_like(logits) : at::Tensor();
    std::vector<float> losses(static_cast<size_t>(n));
    with_element(logits, [&](auto* x) {
      using T = std::remove_pointer_t<decltype(x)>;
      cross_entropy_rows(n, v, static_cast<const T*>(x), targets.const_data_ptr<int64_t>(),
                         pointer(weights.value_or(at::Tensor())), losses.data(),
                         gradient.defined() ? data<T>(gradient) : nullptr);
    });
    if (gradient.defined()) ctx->save_for_backward({gradient});
    return total(losses);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    return {saved[0] * grads[0].to(saved[0].scalar_type()), {}, {}, {}};
  }
};

// The product with the output layer, and what its gradients need.
struct Head {
  const BaseWeight* base = nullptr;
  at::Tensor dense;  // in the arithmetic's dtype

  int64_t vocabulary() const { return base ? base->out_features() : dense.size(0); }
  int64_t width() const { return base ? base->in_features() : dense.size(1); }
  at::Tensor logits(const at::Tensor& h) const {
    return base ? base->matmul(h) : at::linear(h.to(dense.scalar_type()), dense);
  }
  at::Tensor back(const at::Tensor& dlogits) const {
    return base ? base->matmul_t(dlogits) : at::matmul(dlogits, dense);
  }
};

// d shaped / d plain, from the shaped logits.
at::Tensor shape_slope(const at::Tensor& shaped, const LogitShape& shape) {
  if (shape.softcap == 0) return at::full({1}, shape.scale, at::kFloat);
  return (1 - (shaped / shape.softcap).square()).mul_(shape.scale);
}

struct Scored {
  at::Tensor loss, dhidden, dweight;
};

// Multiplies, scores and differentiates block by block, over rows that have a target and a weight
// only.
Scored score(const at::Tensor& hidden, const Head& head, const at::Tensor& targets,
             const at::Tensor& weights, const LogitShape& shape, bool want_hidden,
             bool want_weight) {
  const int64_t n = hidden.size(0), v = head.vocabulary();
  const int64_t* target = targets.const_data_ptr<int64_t>();
  const float* weight = pointer(weights);
  std::vector<int64_t> scored;
  for (int64_t i = 0; i < n; ++i) {
    if (target[i] != kIgnoreTarget && !(weight && weight[i] == 0)) scored.push_back(i);
  }
  const int64_t m = static_cast<int64_t>(scored.size());
  Scored out;
  if (want_hidden) out.dhidden = at::zeros(hidden.sizes(), hidden.options());
  if (want_weight) out.dweight = at::zeros({v, hidden.size(1)}, at::kFloat);
  const at::Tensor rows = at::from_blob(scored.data(), {m}, at::kLong);
  std::vector<float> losses(scored.size());
  const int64_t step = block_rows(v);
  for (int64_t begin = 0; begin < m; begin += step) {
    const int64_t count = std::min(step, m - begin);
    const at::Tensor ids = rows.narrow(0, begin, count);
    const at::Tensor h = hidden.index_select(0, ids), wanted = targets.index_select(0, ids);
    const at::Tensor share = weights.defined() ? weights.index_select(0, ids) : at::Tensor();
    at::Tensor logits = head.logits(h).contiguous();
    at::Tensor slope;  // of the shaped logits by the plain ones
    if (!shape.plain()) {
      const at::ScalarType dtype = logits.scalar_type();
      const at::Tensor shaped = shape_logits(logits.to(at::kFloat), shape);
      if (want_hidden || want_weight) slope = shape_slope(shaped, shape);
      logits = shaped.to(dtype).contiguous();
    }
    with_element(logits, [&](auto* x) {
      using T = std::remove_pointer_t<decltype(x)>;
      cross_entropy_rows(count, v, static_cast<const T*>(x), wanted.const_data_ptr<int64_t>(),
                         pointer(share), losses.data() + begin,
                         want_hidden || want_weight ? x : nullptr);
    });
    if (slope.defined()) logits.mul_(slope);
    if (want_hidden) out.dhidden.index_copy_(0, ids, head.back(logits).to(hidden.scalar_type()));
    if (want_weight) {
      out.dweight.add_(at::matmul(logits.t(), h.to(logits.scalar_type())));
    }
  }
  out.loss = total(losses);
  return out;
}

struct LinearCrossEntropy : Function<LinearCrossEntropy> {
  // Either `dense` or `base`.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const std::optional<at::Tensor>& dense, const BaseWeight* base,
                            const at::Tensor& targets, const std::optional<at::Tensor>& weights,
                            at::ScalarType arithmetic, const LogitShape* shape, bool recording) {
    const bool want_hidden = recording && hidden.requires_grad();
    const bool want_weight = recording && dense && dense->requires_grad();
    const Head head{base, dense ? dense->detach().to(arithmetic) : at::Tensor()};
    const Scored scored = score(hidden.detach(), head, targets, weights.value_or(at::Tensor()),
                                *shape, want_hidden, want_weight);
    ctx->saved_data["dhidden"] = scored.dhidden;
    ctx->saved_data["dweight"] = scored.dweight;
    return scored.loss;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto scaled = [&](const char* name) {
      const at::Tensor gradient = ctx->saved_data[name].toTensor();
      return gradient.defined() ? gradient * grads[0].to(gradient.scalar_type()) : at::Tensor();
    };
    return {scaled("dhidden"), scaled("dweight"), {}, {}, {}, {}, {}, {}};
  }
};

void check_head(const at::Tensor& hidden, const Head& head, const at::Tensor& targets,
                const at::Tensor& weights) {
  if (hidden.dim() != 2 || hidden.size(1) != head.width()) {
    throw Error(ErrorKind::mismatch,
                str("[linear_cross_entropy] hidden ", shape_str(hidden.sizes()),
                    " and an output layer of width ", head.width()));
  }
  check("linear_cross_entropy", hidden.size(0), head.vocabulary(), targets, weights);
}

}  // namespace

int64_t loss_block_rows(int64_t vocabulary) {
  return block_rows(vocabulary);
}

at::Tensor cross_entropy_ref(const at::Tensor& logits, const at::Tensor& targets,
                             const at::Tensor& weights) {
  const at::Tensor wide = logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
  const at::Tensor picked =
      torch::log_softmax(wide, -1).gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  const at::Tensor losses =
      torch::where(targets == kIgnoreTarget, torch::zeros_like(picked), -picked);
  return weights.defined() ? (losses * weights).sum() : losses.sum();
}

at::Tensor shape_logits(const at::Tensor& logits, const LogitShape& shape) {
  if (shape.plain()) return logits;
  const at::Tensor wide = logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
  const at::Tensor z = wide * shape.scale;
  return shape.softcap == 0 ? z : torch::tanh(z / shape.softcap) * shape.softcap;
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                         const at::Tensor& weights) {
  if (logits.dim() != 2) {
    throw Error(ErrorKind::mismatch, str("[cross_entropy] logits ", shape_str(logits.sizes())));
  }
  check("cross_entropy", logits.size(0), logits.size(1), targets, weights);
  if (kernels_mode() == KernelsMode::ref) return cross_entropy_ref(logits, targets, weights);
  return CrossEntropy::apply(logits, targets.contiguous(), given(weights),
                             at::GradMode::is_enabled());
}

namespace {

// W^T dy of a frozen weight, differentiable in x: what the reference needs of a base.
struct BaseProduct : Function<BaseProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const BaseWeight* base) {
    ctx->saved_data["base"] = reinterpret_cast<int64_t>(base);
    ctx->saved_data["dtype"] = static_cast<int64_t>(x.scalar_type());
    return base->matmul(x);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto* base = reinterpret_cast<const BaseWeight*>(ctx->saved_data["base"].toInt());
    const auto dtype = static_cast<at::ScalarType>(ctx->saved_data["dtype"].toInt());
    return {base->matmul_t(grads[0]).to(dtype), {}};
  }
};

}  // namespace

at::Tensor linear_cross_entropy_ref(const at::Tensor& hidden, const BaseWeight& head,
                                    const at::Tensor& targets, const at::Tensor& weights,
                                    const LogitShape& shape) {
  return cross_entropy_ref(shape_logits(BaseProduct::apply(hidden, &head), shape), targets,
                           weights);
}

at::Tensor linear_cross_entropy_ref(const at::Tensor& hidden, const at::Tensor& head,
                                    const at::Tensor& targets, const at::Tensor& weights,
                                    Arithmetic arithmetic, const LogitShape& shape) {
  const at::ScalarType dtype =
      hidden.scalar_type() == at::kDouble ? at::kDouble : scalar_type(arithmetic);
  return cross_entropy_ref(shape_logits(torch::linear(hidden.to(dtype), head.to(dtype)), shape),
                           targets, weights);
}

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const BaseWeight& head,
                                const at::Tensor& targets, const at::Tensor& weights,
                                const LogitShape& shape) {
  check_head(hidden, {&head, {}}, targets, weights);
  if (kernels_mode() == KernelsMode::ref) {
    return linear_cross_entropy_ref(hidden, head, targets, weights, shape);
  }
  return LinearCrossEntropy::apply(hidden, std::optional<at::Tensor>(), &head, targets.contiguous(),
                                   given(weights), head.dtype(), &shape,
                                   at::GradMode::is_enabled());
}

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& head,
                                const at::Tensor& targets, const at::Tensor& weights,
                                Arithmetic arithmetic, const LogitShape& shape) {
  if (head.dim() != 2) {
    throw Error(ErrorKind::mismatch,
                str("[linear_cross_entropy] an output layer ", shape_str(head.sizes())));
  }
  check_head(hidden, {nullptr, head}, targets, weights);
  if (kernels_mode() == KernelsMode::ref) {
    return linear_cross_entropy_ref(hidden, head, targets, weights, arithmetic, shape);
  }
  return LinearCrossEntropy::apply(hidden, std::optional<at::Tensor>(head), nullptr,
                                   targets.contiguous(), given(weights), scalar_type(arithmetic),
                                   &shape, at::GradMode::is_enabled());
}

}  // namespace smidgen
