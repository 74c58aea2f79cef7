// The non-linear functions of MLPs, alone and gated.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace smidgen {

enum class Activation {
  silu,       // x / (1 + exp(-x))
  gelu,       // x Phi(x) (arXiv 1606.08415)
  gelu_tanh,  // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  relu,
};

// transformers' words for them ("gelu_new", "gelu_pytorch_tanh" and "gelu_fast" are one function),
// and the way back.
const std::vector<std::string>& activation_words();
Activation activation_of(const std::string& word);  // a word of the list

// f(x), element by element, computed in fp32. x [n, d] -> [n, d] in x's dtype.
at::Tensor activate(Activation f, const at::Tensor& x);
at::Tensor activate_ref(Activation f, const at::Tensor& x);

// f(gate) * up (Shazeer 2020, arXiv 2002.05202). gate, up [n, d]; rows may be strided, columns not.
// SwiGLU is the kernel of nn/ops.h; the others save gate and up and compute the rest again.
at::Tensor gated(Activation f, const at::Tensor& gate, const at::Tensor& up);
// The same of the halves of x [n, 2 d].
at::Tensor gated(Activation f, const at::Tensor& x);
at::Tensor gated_ref(Activation f, const at::Tensor& gate, const at::Tensor& up);

}  // namespace smidgen
