// The forward pass of a linear host for scores, of which two may lie closer than the rounding of a
// product.
#pragma once

#include "smidgen/nn/host.h"

namespace smidgen {

// group.forward(x) in fp32: what stood there before it was rounded to the base's dtype, unless an
// attachment of the rows works on the rounded result.
at::Tensor unrounded_forward(const LinearGroup& group, const at::Tensor& x, const Rows& rows);

}  // namespace smidgen
