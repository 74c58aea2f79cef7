// How the Functions of nn/ops reach raw memory. Not for other files.
#pragma once

#include <type_traits>

#include <ATen/core/Tensor.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/bf16.h"

namespace smidgen {

// The elements of a tensor as the kernels see them: float or Bf16.
template <class T>
T* data(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<T, Bf16>) {
    SMIDGEN_ASSERT(tensor.scalar_type() == at::kBFloat16);
  } else {
    SMIDGEN_ASSERT(tensor.scalar_type() == at::kFloat);
  }
  return static_cast<T*>(tensor.data_ptr());
}

// Calls run(pointer) with the tensor's own element type.
template <class Run>
void with_element(const at::Tensor& tensor, Run&& run) {
  if (tensor.scalar_type() == at::kBFloat16) {
    run(data<Bf16>(tensor));
  } else {
    run(data<float>(tensor));
  }
}

}  // namespace smidgen
