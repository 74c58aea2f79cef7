// From text's packed rows of plain integers to a batch of tensors.
#pragma once

#include "smidgen/nn/batch.h"
#include "smidgen/text/packing.h"

namespace smidgen {

// All sequences see `slot`. Positions and targets are those of the packing.
Batch to_batch(const PackedBatch& packed, int slot);

}  // namespace smidgen
