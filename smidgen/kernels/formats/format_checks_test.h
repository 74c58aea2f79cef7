// What every weight format must do, for any storage and both arithmetics. `relative` bounds the
// storage's error.
#pragma once

#include <string>

namespace smidgen {

void expect_weight_format(const std::string& name, double relative);

}  // namespace smidgen
