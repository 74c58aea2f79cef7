// DELLA (Deep et al. 2024, arXiv:2406.11617) without the election of a sign.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_della_linear_merge_method() {
  return make_task_vector_method({.summary = "Random values of task vectors, larger ones rather",
                                  .source = "arXiv:2406.11617",
                                  .keep = TaskVectorKind::Keep::by_row_rank,
                                  .consensus = false,
                                  .normalize = false,
                                  .rescale = true});
}

}  // namespace smidgen
