// TIES (Yadav et al. 2023, arXiv:2306.01708): trim, elect a sign, merge what has it. As mergekit,
// the kept values are divided by their weights' sum, where the paper divides by their number.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_ties_merge_method() {
  return make_task_vector_method(
      {.summary = "Largest values of task vectors, where their signs agree",
       .source = "arXiv:2306.01708",
       .keep = TaskVectorKind::Keep::largest,
       .consensus = true,
       .normalize = true,
       .rescale = false});
}

}  // namespace smidgen
