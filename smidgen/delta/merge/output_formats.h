// In which format each tensor of a merge is written.
#pragma once

#include <memory>
#include <vector>

#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/source.h"

namespace smidgen {

// `wanted` (a recipe's out_dtype, else its dtype) where a tensor holds real numbers; without it the
// format that holds the values of all inputs: bf16 and f16 together give f32, and so do block
// formats. Tensors of integers keep theirs.
std::vector<Format> output_formats(const MergePlan& plan,
                                   const std::vector<std::shared_ptr<const Source>>& sources,
                                   std::optional<Format> wanted);

}  // namespace smidgen
