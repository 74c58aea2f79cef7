// What every weight format must do, for any storage and both arithmetics. `relative` bounds the
// storage's error. With `keeps_source` nothing is read before it is asked for.
#pragma once

#include <string>

#include "smidgen/kernels/formats/base_weight.h"

namespace smidgen {

void expect_weight_format(const std::string& name, double relative, bool keeps_source = false);

// All of the interface against plain products in fp64 with `stored` [600, at least 2000], the
// values that the format holds.
void check_products(const BaseWeight& weight, const at::Tensor& stored);

}  // namespace smidgen
