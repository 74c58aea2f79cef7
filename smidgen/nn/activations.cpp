#include "smidgen/nn/activations.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/ops.h"

namespace smidgen {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

struct Word {
  const char* text;
  Activation activation;
};
constexpr Word kWords[] = {{"silu", Activation::silu},
                           {"swish", Activation::silu},
                           {"gelu", Activation::gelu},
                           {"gelu_new", Activation::gelu_tanh},
                           {"gelu_pytorch_tanh", Activation::gelu_tanh},
                           {"gelu_fast", Activation::gelu_tanh},
                           {"relu", Activation::relu}};

// fp64 stays, for finite differences.
at::Tensor wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

at::Tensor value(Activation f, const at::Tensor& x) {
  switch (f) {
    case Activation::silu:
      return torch::silu(x);
    case Activation::gelu:
      return torch::gelu(x, "none");
    case Activation::gelu_tanh:
      return torch::gelu(x, "tanh");
    case Activation::relu:
      return torch::relu(x);
  }
  SMIDGEN_ASSERT(!"unknown activation");
}

at::Tensor slope(Activation f, const at::Tensor& dy, const at::Tensor& x) {
  switch (f) {
    case Activation::silu:
      return at::silu_backward(dy, x);
    case Activation::gelu:
      return at::gelu_backward(dy, x, "none");
    case Activation::gelu_tanh:
      return at::gelu_backward(dy, x, "tanh");
    case Activation::relu:
      return at::threshold_backward(dy, x, 0);
  }
  SMIDGEN_ASSERT(!"unknown activation");
}

struct Activate : Function<Activate> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t f) {
    ctx->save_for_backward({x});
    ctx->saved_data["f"] = f;
    return value(static_cast<Activation>(f), wide(x)).to(x.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor x = ctx->get_saved_variables()[0];
    const auto f = static_cast<Activation>(ctx->saved_data["f"].toInt());
    return {slope(f, wide(grads[0]), wide(x)).to(x.scalar_type()), {}};
  }
};

struct Gated : Function<Gated> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up,
                            int64_t f) {
    ctx->save_for_backward({gate, up});
    ctx->saved_data["f"] = f;
    return (value(static_cast<Activation>(f), wide(gate)) * wide(up)).to(gate.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor gate = wide(saved[0]), up = wide(saved[1]), dy = wide(grads[0]);
    const auto f = static_cast<Activation>(ctx->saved_data["f"].toInt());
    return {slope(f, dy * up, gate).to(saved[0].scalar_type()),
            (dy * value(f, gate)).to(saved[1].scalar_type()),
            {}};
  }
};

}  // namespace

const std::vector<std::string>& activation_words() {
  static const std::vector<std::string> words = [] {
    std::vector<std::string> all;
    for (const Word& word : kWords) all.emplace_back(word.text);
    return all;
  }();
  return words;
}

Activation activation_of(const std::string& word) {
  const auto* found = std::find_if(std::begin(kWords), std::end(kWords),
                                   [&](const Word& w) { return word == w.text; });
  SMIDGEN_ASSERT(found != std::end(kWords));
  return found->activation;
}

at::Tensor activate_ref(Activation f, const at::Tensor& x) {
  return value(f, wide(x)).to(x.scalar_type());
}

at::Tensor activate(Activation f, const at::Tensor& x) {
  if (kernels_mode() == KernelsMode::ref) return activate_ref(f, x);
  return Activate::apply(x, static_cast<int64_t>(f));
}

at::Tensor gated(Activation f, const at::Tensor& x) {
  if (f == Activation::silu) return swiglu_halves(x);
  const int64_t d = x.size(1) / 2;
  return gated(f, x.narrow(1, 0, d), x.narrow(1, d, d));
}

at::Tensor gated_ref(Activation f, const at::Tensor& gate, const at::Tensor& up) {
  return (value(f, wide(gate)) * wide(up)).to(gate.scalar_type());
}

at::Tensor gated(Activation f, const at::Tensor& gate, const at::Tensor& up) {
  if (gate.dim() != 2 || gate.sizes() != up.sizes()) {
    throw Error(ErrorKind::mismatch,
                str("[gated] gate ", shape_str(gate.sizes()), " and up ", shape_str(up.sizes())));
  }
  if (f == Activation::silu) return swiglu(gate, up);
  if (kernels_mode() == KernelsMode::ref) return gated_ref(f, gate, up);
  return Gated::apply(gate, up.to(gate.scalar_type()), static_cast<int64_t>(f));
}

}  // namespace smidgen
