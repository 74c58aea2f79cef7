// JSON as Python's json.dumps(value, indent=2, sort_keys=True) writes it: ASCII only, floats as
// repr() does
// ("1e-05", "1000000000000000.0"), no newline at the end.
#pragma once

#include <string>

#include "smidgen/base/json.h"

namespace smidgen {

std::string python_json(const Json& value);
// repr(float): the shortest digits that read back to the same double.
std::string python_float(double value);

}  // namespace smidgen
