// Moves an adapter away from its start, so that no law holds by accident.
#pragma once

#include <ATen/core/Tensor.h>

#include "smidgen/base/rng.h"
#include "smidgen/methods/adapter.h"

namespace smidgen {

// Every value of every parameter by size N(0, 1), the same at every call.
inline void disturb(const Adapter& adapter, double size = 0.2) {
  for (const auto& p : adapter.store().parameters()) {
    const Rng rng(11, "disturb", 0, p->spec().path());
    at::Tensor value = p->value().detach();
    float* data = value.mutable_data_ptr<float>();
    for (int64_t i = 0; i < value.numel(); ++i)
      data[i] += static_cast<float>(size * rng.normal(static_cast<uint64_t>(i)));
  }
}

}  // namespace smidgen
