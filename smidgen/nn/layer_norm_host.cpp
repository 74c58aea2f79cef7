#include "smidgen/nn/layer_norm_host.h"

#include "smidgen/nn/ops.h"

namespace smidgen {

at::Tensor LayerNormHost::apply(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& bias, at::ScalarType out) const {
  return layer_norm(x, weight, bias, eps_, out);
}

}  // namespace smidgen
