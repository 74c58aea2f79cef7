// What the two formats of 8-bit integers share.
#pragma once

#include <memory>

#include "smidgen/kernels/formats/registry.h"

namespace smidgen {

// Which products round both sides to 8 bits.
enum class Rounded { both, forward };

std::unique_ptr<const WeightFormat> make_int8_format(Rounded products);

}  // namespace smidgen
