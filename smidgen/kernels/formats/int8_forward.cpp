// int8 whose input gradients are products with the unpacked weights in bf16, as in LLM.int8()
// (arXiv 2208.07339): for where rounding dy costs more loss than its speed is worth.
#include "smidgen/kernels/formats/int8_format.h"

namespace smidgen {

std::unique_ptr<const WeightFormat> make_int8_forward_weight_format() {
  return make_int8_format(Rounded::forward);
}

}  // namespace smidgen
