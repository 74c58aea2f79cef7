#include "smidgen/nn/recompute.h"

#include <algorithm>

#include <torch/torch.h>

namespace smidgen {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

struct Held : torch::CustomClassHolder {
  explicit Held(Stretch p) : stretch(std::move(p)) {}
  Stretch stretch;
};

struct Recompute : Function<Recompute> {
  // Gradient mode is off here, so that the stretch records nothing.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList leaves,
                            const at::Tensor& kept, c10::intrusive_ptr<Held> holder) {
    variable_list saved = leaves.vec();
    saved.push_back(kept);
    ctx->save_for_backward(saved);
    ctx->saved_data["stretch"] = c10::IValue::make_capsule(holder);
    ctx->saved_data["dtype"] = x.scalar_type();
    return holder->stretch(x.detach());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["stretch"].toCapsule();
    const Stretch& stretch = static_cast<const Held*>(capsule.get())->stretch;
    const torch::AutoGradMode recording(true);
    const bool need_dx = ctx->needs_input_grad(0);
    const at::Tensor x =
        saved.back().detach().to(ctx->saved_data["dtype"].toScalarType()).requires_grad_(need_dx);
    variable_list asked;
    if (need_dx) asked.push_back(x);
    for (size_t i = 0; i + 1 < saved.size(); ++i) {
      if (saved[i].requires_grad()) asked.push_back(saved[i]);
    }
    const variable_list found =
        torch::autograd::grad({stretch(x)}, asked, {grads[0]}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    size_t next = 0;
    variable_list result{need_dx ? found[next++] : at::Tensor()};
    for (size_t i = 0; i + 1 < saved.size(); ++i)
      result.push_back(saved[i].requires_grad() ? found[next++] : at::Tensor());
    result.insert(result.end(), 2, at::Tensor());  // kept, holder
    return result;
  }
};

}  // namespace

at::Tensor recompute(const Stretch& stretch, const at::Tensor& x, const Tensors& leaves,
                     const at::Tensor& kept) {
  const bool trained = std::any_of(leaves.begin(), leaves.end(),
                                   [](const at::Tensor& leaf) { return leaf.requires_grad(); });
  if (!at::GradMode::is_enabled() || !(x.requires_grad() || trained)) return stretch(x);
  return Recompute::apply(x, at::TensorList(leaves), kept.defined() ? kept : x.detach(),
                          c10::make_intrusive<Held>(stretch));
}

}  // namespace smidgen
