// What every weight format must do, for any storage and both arithmetics. `relative` bounds the
// storage's error. With `keeps_source` nothing is read before it is asked for.
#pragma once

#include <string>

namespace smidgen {

void expect_weight_format(const std::string& name, double relative, bool keeps_source = false);

}  // namespace smidgen
