#include "smidgen/nn/attachment.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

Attachment::Attachment(Hooks hooks, Tensors parameters)
    : hooks_(hooks), parameters_(std::move(parameters)) {}
Attachment::~Attachment() = default;

bool Attachment::trainable() const {
  for (const at::Tensor& p : parameters_) {
    if (p.requires_grad()) return true;
  }
  return false;
}

at::Tensor Attachment::pre(const at::Tensor&, const Tensors&) const {
  SMIDGEN_ASSERT(!"no pre hook");
}
at::Tensor Attachment::add(const at::Tensor&, const at::Tensor&, const Tensors&) const {
  SMIDGEN_ASSERT(!"no add hook");
}
std::optional<LowRankDelta> Attachment::low_rank(const Tensors&) const {
  return std::nullopt;
}
Tensors Attachment::low_rank_backward(const Tensors&, const at::Tensor&, const at::Tensor&) const {
  SMIDGEN_ASSERT(!"no low-rank form");
}
at::Tensor Attachment::post(const at::Tensor&, const Tensors&) const {
  SMIDGEN_ASSERT(!"no post hook");
}
at::Tensor Attachment::weight(const Tensors&) const {
  SMIDGEN_ASSERT(!"no weight hook");
}
at::Tensor Attachment::bias(const Tensors&) const {
  SMIDGEN_ASSERT(!"no bias hook");
}
at::Tensor Attachment::embed(const at::Tensor&, const at::Tensor&, const Tensors&) const {
  SMIDGEN_ASSERT(!"no embed hook");
}

namespace {

// Runs `forward` under autograd on detached copies of its inputs and pulls `dy` back through it.
template <class Forward>
Tensors rerun(const Tensors& inputs, const at::Tensor& dy, const Forward& forward) {
  torch::AutoGradMode grad_mode(true);
  Tensors leaves;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.defined() ? input.detach().requires_grad_(true) : input);
  }
  const at::Tensor result = forward(leaves);
  Tensors asked;
  for (const at::Tensor& leaf : leaves) {
    if (leaf.defined()) asked.push_back(leaf);
  }
  const Tensors found = torch::autograd::grad({result}, asked, {dy}, /*retain_graph=*/false,
                                              /*create_graph=*/false, /*allow_unused=*/true);
  Tensors grads(inputs.size());
  for (size_t i = 0, k = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined()) grads[i] = found[k++];
  }
  return grads;
}

Tensors with(std::initializer_list<at::Tensor> first, const Tensors& rest) {
  Tensors all(first);
  all.insert(all.end(), rest.begin(), rest.end());
  return all;
}

Tensors from(const Tensors& all, size_t begin) {
  return Tensors(all.begin() + static_cast<long>(begin), all.end());
}

}  // namespace

Attachment::Grads Attachment::pre_backward(const at::Tensor& x, const Tensors& p,
                                           const at::Tensor& dy) const {
  const Tensors g =
      rerun(with({x}, p), dy, [&](const Tensors& in) { return pre(in[0], from(in, 1)); });
  return {g[0], {}, from(g, 1)};
}

Attachment::Grads Attachment::add_backward(const at::Tensor& x, const at::Tensor& y0,
                                           const Tensors& p, const at::Tensor& dy) const {
  const Tensors g = rerun(with({x, y0}, p), dy,
                          [&](const Tensors& in) { return add(in[0], in[1], from(in, 2)); });
  return {g[0], g[1], from(g, 2)};
}

Attachment::Grads Attachment::post_backward(const at::Tensor& y, const Tensors& p,
                                            const at::Tensor& dy) const {
  const Tensors g =
      rerun(with({y}, p), dy, [&](const Tensors& in) { return post(in[0], from(in, 1)); });
  return {g[0], {}, from(g, 1)};
}

Tensors Attachment::weight_backward(const Tensors& p, const at::Tensor& dweight) const {
  return rerun(p, dweight, [&](const Tensors& in) { return weight(in); });
}

Tensors Attachment::bias_backward(const Tensors& p, const at::Tensor& dbias) const {
  return rerun(p, dbias, [&](const Tensors& in) { return bias(in); });
}

}  // namespace smidgen
