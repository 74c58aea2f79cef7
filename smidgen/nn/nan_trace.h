// Finds the module in which the first NaN or infinity of a step arises. While a NanTrace lives,
// hosts hand what they make, and the gradients that they make of it, to it; one that is not finite
// throws diverged with the module's name, the direction, and where in the tensor it stands. Each
// look costs a pass over the tensor, so ordinary runs do without.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/site.h"

namespace smidgen {

class NanTrace {
 public:
  // Not to be nested. `where` comes first in messages: "step 12".
  explicit NanTrace(std::string where);
  ~NanTrace();
  NanTrace(const NanTrace&) = delete;
  NanTrace& operator=(const NanTrace&) = delete;

  static bool on();
};

// y itself. While a trace lives: checks y, the output of the module, now, and later the gradients
// of y ("in the gradient of its output") and of its input x ("backward"). Tensors that no gradient
// is asked of are not watched; x may be undefined.
at::Tensor traced(at::Tensor y, const at::Tensor& x, const std::string& module);
// The module being a host's sites: "model.layers.3.self_attn.{q_proj,k_proj,v_proj}".
at::Tensor traced(at::Tensor y, const at::Tensor& x, const std::vector<Site>& sites);

}  // namespace smidgen
