// A model's compressed delta (io/delta_files.h) on its base, as it is: signs stay bitsets, which
// are added to what the base computes. Only small vectors (norms, biases) become numbers.
#pragma once

#include "smidgen/io/delta_files.h"
#include "smidgen/methods/method.h"

namespace smidgen {

// Of a ternary delta; its last dimension are the columns, all others the rows.
TernaryDelta ternary_delta(const DeltaFiles& files, const DeltaTensor& tensor);

// What hangs on each site of the model. A tied head gets its owner's. Matrices of the other kinds
// (kept values, codecs of values) are unfolded, in fp32. Throws mismatch, naming them, for tensors
// that the model does not have or has in another shape.
Plan plan_delta(const Model& model, const DeltaFiles& files);

}  // namespace smidgen
