// The formula of KTO, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include "smidgen/base/schema.h"

namespace smidgen {

struct KtoConfig {
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;
};

template <class V>
void fields(V& v, KtoConfig& c) {
  v("beta", c.beta, {.help = "How strongly the model is held to the base", .min = 1e-6});
  v("desirable_weight", c.desirable_weight, {.help = "Weight of rows with label true", .min = 0});
  v("undesirable_weight", c.undesirable_weight,
    {.help = "Weight of rows with label false", .min = 0});
}

// Losses [s] of answers with log-ratios `ratios` to the base and labels `wanted` (bool), fp64.
at::Tensor kto_losses(const at::Tensor& ratios, const at::Tensor& wanted, double kl,
                      const KtoConfig& config);

}  // namespace smidgen
