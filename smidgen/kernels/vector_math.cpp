// The vector functions of MKL 2024.2, which the torch 2.13 wheel carries, choose their kernel in
// their first call. When that call comes from several threads at once, one of them can run the
// kernel of lowest accuracy over its part: a relative error of 1e-4 in a table of cosines, in about
// one process of three hundred on two busy cores (pytorch/pytorch#188792). So the first call of
// each function is made here, on one element, before any thread exists.
#include <torch/torch.h>

namespace smidgen {
namespace {

[[maybe_unused]] const bool settled = [] {
  const at::NoGradGuard no_grad;
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor x = at::full({1}, 0.5, type);
    // What torch hands to MKL: IMPLEMENT_VML_MKL in ATen/cpu/vml.h.
    for (at::Tensor (*function)(const at::Tensor&) :
         {at::acos, at::asin, at::atan, at::cos, at::erf, at::erfc, at::erfinv, at::exp, at::log,
          at::log10, at::log2, at::sin, at::sqrt, at::tan, at::tanh, at::trunc}) {
      function(x);
    }
  }
  return true;
}();

}  // namespace
}  // namespace smidgen
