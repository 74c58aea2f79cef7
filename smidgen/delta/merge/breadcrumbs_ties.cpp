// Model Breadcrumbs (Davari and Belilovsky 2024, arXiv:2312.06795) before the sign election of
// TIES.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_breadcrumbs_ties_merge_method() {
  return make_task_vector_method(
      {.summary = "Task vectors without their largest and smallest values, where signs agree",
       .source = "arXiv:2312.06795",
       .keep = TaskVectorKind::Keep::below_outliers,
       .consensus = true,
       .normalize = false,
       .rescale = false});
}

}  // namespace smidgen
