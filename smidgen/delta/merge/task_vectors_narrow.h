// Task vectors in the order of mergekit 0.1.5's steps, also in bf16 and f16: what task_vectors.h
// does in fp32, with every intermediate value rounded.
#pragma once

#include <memory>

#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

// For tasks with MergeTask::as_mergekit. Values with the same bits as mergekit's on the
// same processor and release of torch: in 16 bits many magnitudes are equal, and which of them
// are kept is decided by torch's sort, which runs here too. Memory, where something is thinned: 4
// bytes an element for each model, and 12 while one is sorted, of one tensor. Throws unsupported
// where values are kept at random, since mergekit's numbers are not these.
std::unique_ptr<TensorMerge> merge_narrow_task_vectors(const TaskVectorKind& kind,
                                                       const MergeTask& task);

}  // namespace smidgen
