// A weight that is not in memory yet: what a format would make of it, in figures.
#pragma once

#include <memory>

#include "smidgen/kernels/formats/registry.h"

namespace smidgen {

// Tells format, bytes and the products' scratch as `format` would after packing all of `source`,
// judged by its first rows; `tile` and `rows` read the source, as `stored` does.
std::shared_ptr<const BaseWeight> planned_weight(const WeightFormat& format,
                                                 const WeightSource& source, Arithmetic arithmetic);

}  // namespace smidgen
