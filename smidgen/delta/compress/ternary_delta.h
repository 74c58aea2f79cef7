// A compressed tensor in the form that is multiplied, added and compared without unfolding it.
#pragma once

#include "smidgen/io/delta_files.h"
#include "smidgen/nn/delta.h"

namespace smidgen {

// Of a ternary delta; its last dimension are the columns, all others the rows.
TernaryDelta ternary_delta(const DeltaFiles& files, const DeltaTensor& tensor);

}  // namespace smidgen
