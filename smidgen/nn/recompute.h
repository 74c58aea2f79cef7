// Stretches of a forward pass that run again in the backward pass, so that what they made in
// between need not be kept. They wrap a stretch as it is: there is no second version of it.
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/attachment.h"

namespace smidgen {

// y = stretch(x), keeping x alone (Chen et al. 2016, arXiv 1604.06174). The backward pass runs the
// stretch again under autograd and pulls dy back through it, so it must compute the same both
// times: random masks are functions of where they fall (nn/dropout.h). `leaves` are the trainable
// tensors that it reads besides, each once. `kept` stands for x in the backward pass where given: x
// in a smaller dtype. Gradients equal those of stretch(x) to the bit, unless `kept` is rounded.
// Without anything to differentiate this is stretch(x).
using Stretch = std::function<at::Tensor(const at::Tensor& x)>;
at::Tensor recompute(const Stretch& stretch, const at::Tensor& x, const Tensors& leaves,
                     const at::Tensor& kept = {});

// How the input of a linear host is made again in the backward pass from tensors that are kept
// anyway, instead of being kept itself. Without `make` it is kept.
struct Remake {
  Tensors from;  // without history
  std::function<at::Tensor(const Tensors& from)> make = nullptr;
};

}  // namespace smidgen
