// The number format in which matrix products run; storage is the weight format's own business.
#pragma once

#include <string_view>

#include <c10/core/ScalarType.h>

namespace smidgen {

// fp32: products and their operands in fp32. bf16: operands rounded to bf16, sums in fp32, result
// rounded to bf16.
enum class Arithmetic { fp32, bf16 };

constexpr at::ScalarType scalar_type(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::bf16 ? at::kBFloat16 : at::kFloat;
}

constexpr std::string_view to_string(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::bf16 ? "bf16" : "fp32";
}

// True where the processor multiplies bf16 natively (AVX512-BF16 or AMX), so that `dtype: auto`
// means bf16.
bool native_bf16();

}  // namespace smidgen
