// Model Breadcrumbs (Davari and Belilovsky 2024, arXiv:2312.06795): mask outliers and small values.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_breadcrumbs_merge_method() {
  return make_task_vector_method(
      {.summary = "Task vectors without their largest and smallest values",
       .source = "arXiv:2312.06795",
       .keep = TaskVectorKind::Keep::below_outliers,
       .consensus = false,
       .normalize = false,
       .rescale = false});
}

}  // namespace smidgen
