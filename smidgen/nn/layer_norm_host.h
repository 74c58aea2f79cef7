// LayerNorm as a host: NormHost with a mean and a bias.
#pragma once

#include "smidgen/nn/host.h"

namespace smidgen {

// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias  (arXiv:1607.06450).
class LayerNormHost : public NormHost {
 public:
  LayerNormHost(Site site, std::shared_ptr<HostedWeight> weight, at::Tensor bias, double eps)
      : NormHost(std::move(site), std::move(weight), eps, /*offset=*/0, std::move(bias)) {}

 protected:
  at::Tensor apply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                   at::ScalarType out) const override;
  std::pair<at::Tensor, at::Tensor> apply_fork(const at::Tensor& x, const at::Tensor& weight,
                                               const at::Tensor& bias, at::ScalarType out,
                                               const at::Tensor& kept) const override {
    if (!kept.defined()) return {apply(x, weight, bias, out), x};
    const Stretch norm = [this, weight, bias, out](const at::Tensor& y) {
      return apply(y, weight, bias, out);
    };
    return {recompute(norm, x, {}, kept), x};
  }
};

}  // namespace smidgen
