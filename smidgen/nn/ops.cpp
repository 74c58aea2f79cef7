#include "smidgen/nn/ops.h"

#include <atomic>
#include <cstdlib>
#include <optional>
#include <string_view>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/rms_norm.h"
#include "smidgen/kernels/rope.h"
#include "smidgen/kernels/swiglu.h"
#include "smidgen/nn/ops_internal.h"

namespace smidgen {
namespace {

std::atomic<int> forced_mode{-1};

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

void require(bool fits, const char* op, const std::string& found) {
  if (!fits) throw Error(ErrorKind::mismatch, str("[", op, "] ", found));
}

// F's forward. Where nothing is recorded, as in generation, without a node: half the cost of a
// small op. A forward keeps nothing for a null context.
template <class F, class... Args>
auto run(const Args&... args) {
  if (at::GradMode::is_enabled()) return F::apply(args...);
  return F::forward(nullptr, args...);
}

// Rows may be strided, columns not.
at::Tensor packed_columns(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

}  // namespace

KernelsMode kernels_mode() {
  const int forced = forced_mode;
  if (forced >= 0) return static_cast<KernelsMode>(forced);
  static const KernelsMode from_environment = [] {
    const char* word = std::getenv("SMIDGEN_KERNELS");
    if (!word || !*word || std::string_view(word) == "fast") return KernelsMode::fast;
    if (std::string_view(word) == "ref") return KernelsMode::ref;
    throw Error(ErrorKind::usage, str("there are no kernels '", word, "'"), "SMIDGEN_KERNELS",
                "ref or fast");
  }();
  return from_environment;
}

ScopedKernels::ScopedKernels(KernelsMode mode)
    : before_(forced_mode.exchange(static_cast<int>(mode))) {}
ScopedKernels::~ScopedKernels() {
  forced_mode = before_;
}

// --- rms_norm
// ---------------------------------------------------------------------------------------------------

at::Tensor rms_norm_ref(const at::Tensor& x, const at::Tensor& weight, double eps,
                        at::ScalarType out) {
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor y = weight * (wide * torch::rsqrt(wide.square().mean(-1, true) + eps));
  return y.scalar_type() == at::kDouble ? y : y.to(out);
}

namespace {

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps, at::ScalarType out) {
    return forward_keeping(ctx, x, weight, eps, out, x);
  }

  static at::Tensor forward_keeping(AutogradContext* ctx, const at::Tensor& x,
                                    const at::Tensor& weight, double eps, at::ScalarType out,
                                    const at::Tensor& kept) {
    const at::Tensor rows = x.contiguous(), w = weight.contiguous();
    if (ctx) {
      ctx->save_for_backward({kept.is_same(x) ? rows : kept, w});
      ctx->saved_data["eps"] = eps;
      ctx->saved_data["weight"] = weight.requires_grad();
    }
    at::Tensor y = at::empty(rows.sizes(), rows.options().dtype(out));
    with_element(y, [&](auto* y_data) {
      rms_norm_forward(rows.size(0), rows.size(1), data<float>(rows), data<float>(w),
                       static_cast<float>(eps), y_data);
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return backward_beside(ctx, grads[0], {});
  }

  // `beside` is what reaches x on another way, or undefined.
  static variable_list backward_beside(AutogradContext* ctx, const at::Tensor& grad,
                                       const at::Tensor& beside) {
    const variable_list saved = ctx->get_saved_variables();
    if (!grad.defined()) return {beside, {}, {}, {}};
    const at::Tensor x = saved[0].to(at::kFloat).contiguous(), &w = saved[1];
    const at::Tensor dy = grad.contiguous(),
                     added = beside.defined() ? beside.contiguous() : at::Tensor();
    at::Tensor dx = at::empty_like(x);
    at::Tensor dw = ctx->saved_data["weight"].toBool() ? at::zeros_like(w) : at::Tensor();
    with_element(dy, [&](const auto* dy_data) {
      rms_norm_backward(x.size(0), x.size(1), data<float>(x), data<float>(w),
                        static_cast<float>(ctx->saved_data["eps"].toDouble()), dy_data,
                        added.defined() ? data<float>(added) : nullptr, data<float>(dx),
                        dw.defined() ? data<float>(dw) : nullptr);
    });
    return {dx, dw, {}, {}};
  }
};

struct RmsNormFork : Function<RmsNormFork> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                               double eps, at::ScalarType out,
                               const std::optional<at::Tensor>& kept) {
    return {RmsNorm::forward_keeping(ctx, x, weight, eps, out, kept.value_or(x)), x};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result = RmsNorm::backward_beside(ctx, grads[0], grads[1]);
    result.emplace_back();  // kept
    return result;
  }
};

}  // namespace

std::pair<at::Tensor, at::Tensor> rms_norm_fork(const at::Tensor& x, const at::Tensor& weight,
                                                double eps, at::ScalarType out,
                                                const at::Tensor& kept) {
  if (kernels_mode() == KernelsMode::ref || x.scalar_type() != at::kFloat || !x.is_contiguous())
    return {rms_norm(x, weight, eps, out), x};
  const variable_list both =
      run<RmsNormFork>(x, weight.to(at::kFloat), eps, out,
                       kept.defined() ? std::optional(kept) : std::optional<at::Tensor>());
  return {both[0], both[1]};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType out) {
  require(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1), "rms_norm",
          str("rows ", shape_str(x.sizes()), " and weight ", shape_str(weight.sizes())));
  if (kernels_mode() == KernelsMode::ref) return rms_norm_ref(x, weight, eps, out);
  return run<RmsNorm>(x.to(at::kFloat), weight.to(at::kFloat), eps, out);
}

// --- layer_norm
// -------------------------------------------------------------------------------------------------

at::Tensor layer_norm_ref(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                          double eps, at::ScalarType out) {
  const at::Tensor wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const at::Tensor centred = wide - wide.mean(-1, true);
  const at::Tensor y =
      weight * (centred * torch::rsqrt(centred.square().mean(-1, true) + eps)) + bias;
  return y.scalar_type() == at::kDouble ? y : y.to(out);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out) {
  require(x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1) &&
              bias.sizes() == weight.sizes(),
          "layer_norm",
          str("rows ", shape_str(x.sizes()), ", weight ", shape_str(weight.sizes()), " and bias ",
              shape_str(bias.sizes())));
  if (kernels_mode() == KernelsMode::ref) return layer_norm_ref(x, weight, bias, eps, out);
  return torch::layer_norm(x.to(at::kFloat), weight.sizes(), weight.to(at::kFloat),
                           bias.to(at::kFloat), eps)
      .to(out);
}

// --- swiglu
// -----------------------------------------------------------------------------------------------------

at::Tensor swiglu_ref(const at::Tensor& gate, const at::Tensor& up) {
  if (gate.scalar_type() != at::kBFloat16) return torch::silu(gate) * up;
  return (torch::silu(gate.to(at::kFloat)) * up.to(at::kFloat)).to(at::kBFloat16);
}

namespace {

struct Swiglu : Function<Swiglu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_in,
                            const at::Tensor& up_in) {
    const at::Tensor gate = packed_columns(gate_in), up = packed_columns(up_in);
    if (ctx) ctx->save_for_backward({gate, up});
    at::Tensor y = at::empty(gate.sizes(), gate.options());
    with_element(y, [&](auto* y_data) {
      using T = std::remove_pointer_t<decltype(y_data)>;
      swiglu_forward(y.size(0), y.size(1), data<T>(gate), gate.stride(0), data<T>(up), up.stride(0),
                     y_data);
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], dy = grads[0].contiguous();
    at::Tensor dgate = at::empty(dy.sizes(), dy.options()),
               dup = at::empty(dy.sizes(), dy.options());
    with_element(dgate, [&](auto* dgate_data) {
      using T = std::remove_pointer_t<decltype(dgate_data)>;
      swiglu_backward(dy.size(0), dy.size(1), data<T>(gate), gate.stride(0), data<T>(up),
                      up.stride(0), data<T>(dy), dgate_data, data<T>(dup), dy.size(1));
    });
    return {dgate, dup};
  }
};

// gate and up as the two halves of one product's rows: the gradient is one tensor too.
struct JointSwiglu : Function<JointSwiglu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in) {
    const at::Tensor x = x_in.contiguous();
    if (ctx) ctx->save_for_backward({x});
    const int64_t n = x.size(0), d = x.size(1) / 2;
    at::Tensor y = at::empty({n, d}, x.options());
    with_element(y, [&](auto* y_data) {
      const auto* gate = data<std::remove_pointer_t<decltype(y_data)>>(x);
      swiglu_forward(n, d, gate, 2 * d, gate + d, 2 * d, y_data);
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor x = ctx->get_saved_variables()[0], dy = grads[0].contiguous();
    const int64_t n = x.size(0), d = x.size(1) / 2;
    at::Tensor dx = at::empty(x.sizes(), x.options());
    with_element(dx, [&](auto* out) {
      using T = std::remove_pointer_t<decltype(out)>;
      const T* gate = data<T>(x);
      swiglu_backward(n, d, gate, 2 * d, gate + d, 2 * d, data<T>(dy), out, out + d, 2 * d);
    });
    return {dx};
  }
};

}  // namespace

at::Tensor swiglu_halves(const at::Tensor& x) {
  require(x.dim() == 2 && x.size(1) % 2 == 0, "swiglu", str("rows ", shape_str(x.sizes())));
  if (kernels_mode() == KernelsMode::ref) {
    const int64_t d = x.size(1) / 2;
    return swiglu_ref(x.narrow(1, 0, d), x.narrow(1, d, d));
  }
  return run<JointSwiglu>(x);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  require(gate.dim() == 2 && gate.sizes() == up.sizes(), "swiglu",
          str("gate ", shape_str(gate.sizes()), " and up ", shape_str(up.sizes())));
  if (kernels_mode() == KernelsMode::ref) return swiglu_ref(gate, up);
  return run<Swiglu>(gate, up.to(gate.scalar_type()));
}

// --- rope
// -------------------------------------------------------------------------------------------------------

at::Tensor rope_frequencies(int64_t head_dim, double theta) {
  const at::Tensor exponents =
      torch::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  return 1.0 / torch::pow(theta, exponents);
}

RopeTable rope_table(const at::Tensor& inverse_frequencies, int64_t positions, double scaling) {
  const at::Tensor angles = torch::outer(torch::arange(positions, at::kLong).to(at::kFloat),
                                         inverse_frequencies.to(at::kFloat));
  return {(angles.cos() * scaling).contiguous(), (angles.sin() * scaling).contiguous()};
}

namespace {

at::Tensor turn_ref(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = cos.size(-1);
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  const at::Tensor rest = x.narrow(-1, 2 * half, x.size(-1) - 2 * half);
  return torch::cat({a * cos - b * sin, b * cos + a * sin, rest.to(cos.scalar_type())}, -1)
      .to(x.scalar_type());
}

at::Tensor turn(Turn direction, const at::Tensor& x_in, const RopeTable& table,
                const at::Tensor& positions) {
  at::Tensor x = x_in;
  if (x.stride(2) != 1 || x.stride(1) != x.size(2)) x = x.contiguous();
  at::Tensor y = at::empty(x.sizes(), x.options());
  with_element(y, [&](auto* y_data) {
    using T = std::remove_pointer_t<decltype(y_data)>;
    rope_rotate(direction, x.size(0), x.size(1), x.size(2), data<T>(x), x.stride(0),
                data<float>(table.cos), data<float>(table.sin), positions.const_data_ptr<int64_t>(),
                y_data, y.size(1) * y.size(2));
  });
  return y;
}

struct Rope : Function<Rope> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& cos, const at::Tensor& sin,
                               const at::Tensor& positions) {
    if (ctx) ctx->save_for_backward({cos, sin, positions});
    const RopeTable table{cos, sin};
    return {turn(Turn::forward, q, table, positions), turn(Turn::forward, k, table, positions)};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const RopeTable table{saved[0], saved[1]};
    return {turn(Turn::backward, grads[0], table, saved[2]),
            turn(Turn::backward, grads[1], table, saved[2]),
            {},
            {},
            {}};
  }
};

}  // namespace

std::pair<at::Tensor, at::Tensor> rope_ref(const at::Tensor& q, const at::Tensor& k,
                                           const RopeTable& table, const at::Tensor& positions) {
  const at::Tensor cos = table.cos.index_select(0, positions).unsqueeze(1);
  const at::Tensor sin = table.sin.index_select(0, positions).unsqueeze(1);
  return {turn_ref(q, cos, sin), turn_ref(k, cos, sin)};
}

std::pair<at::Tensor, at::Tensor> rope(const at::Tensor& q, const at::Tensor& k,
                                       const RopeTable& table, const at::Tensor& positions) {
  const int64_t half = table.cos.size(1);
  require(q.dim() == 3 && k.dim() == 3 && q.size(0) == k.size(0) && q.size(2) >= 2 * half &&
              k.size(2) == q.size(2) && positions.dim() == 1 && positions.size(0) == q.size(0),
          "rope",
          str("q ", shape_str(q.sizes()), ", k ", shape_str(k.sizes()), ", positions ",
              shape_str(positions.sizes()), " and angles of ", half, " pairs"));
  const at::Tensor rows = positions.contiguous();
  const int64_t* row = rows.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows.numel(); ++i) {
    if (row[i] < 0 || row[i] >= table.cos.size(0)) {
      throw Error(ErrorKind::usage, str("[rope] position ", row[i], " of row ", i,
                                        " is outside the table of ", table.cos.size(0)));
    }
  }
  if (kernels_mode() == KernelsMode::ref) return rope_ref(q, k, table, rows);
  if (q.size(2) > 2 * half) {
    const auto turned = rope(q.narrow(2, 0, 2 * half), k.narrow(2, 0, 2 * half), table, rows);
    const auto whole = [&](const at::Tensor& part, const at::Tensor& x) {
      return torch::cat({part, x.narrow(2, 2 * half, x.size(2) - 2 * half)}, 2);
    };
    return {whole(turned.first, q), whole(turned.second, k)};
  }
  const variable_list turned = run<Rope>(q, k, table.cos, table.sin, rows);
  return {turned[0], turned[1]};
}

// --- embedding
// --------------------------------------------------------------------------------------------------

at::Tensor embedding(const BaseWeight& table, const at::Tensor& ids) {
  return table.rows(ids);
}

at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids) {
  require(table.dim() == 2 && ids.dim() == 1, "embedding",
          str("table ", shape_str(table.sizes()), " and ids ", shape_str(ids.sizes())));
  return torch::embedding(table, ids).to(at::kFloat);
}

}  // namespace smidgen
