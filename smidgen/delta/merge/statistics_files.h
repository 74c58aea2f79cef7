// Statistics of models that lie in files: what methods with MergeTraits::statistics read.
#pragma once

#include <memory>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/source.h"

namespace smidgen {

// The files that the inputs of a plan name (PlannedInput::statistics), each once.
std::vector<fs::path> statistics_files(const MergePlan& plan);

// Opens them, and gives every tensor to merge its part (MergeTask::statistics): of each input the
// tensor of the input's name. Files are safetensors of f32, f16, bf16 or f64; those of `smidgen
// statistics` say their kind, and must be of the method's. Throws mismatch for another kind, and
// for tensors that the model does not have: the file is another model's. Values that are no
// numbers: Error data, when they are read. Does nothing where the method takes no statistics.
void open_statistics(MergePlan& plan, const std::vector<std::shared_ptr<const Source>>& sources);

}  // namespace smidgen
