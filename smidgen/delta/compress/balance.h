// Gives the two factors of each LoRA module one spread before they are compressed.
#pragma once

#include "smidgen/delta/compress/flat_vector.h"

namespace smidgen {

// A' = f A, B' = B / f with f = sqrt(std B / std A), by module: B A is what it was, and std A' =
// std B'. Sets FlatTensor::factor; modules of which a factor is constant are left alone. Not in
// ComPEFT, which has one threshold for all values: B begins at zero, so that after a short run its
// values are small, and none of them is kept. Returns how many modules there were.
int64_t balance_factors(FlatVector& vector);

}  // namespace smidgen
