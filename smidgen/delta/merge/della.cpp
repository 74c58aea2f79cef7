// DELLA (Deep et al. 2024, arXiv:2406.11617): drop by the rank within a row, elect a sign, merge.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_della_merge_method() {
  return make_task_vector_method(
      {.summary = "Random values of task vectors, larger ones rather, where signs agree",
       .source = "arXiv:2406.11617",
       .keep = TaskVectorKind::Keep::by_row_rank,
       .consensus = true,
       .normalize = true,
       .rescale = true});
}

}  // namespace smidgen
