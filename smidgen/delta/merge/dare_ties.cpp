// DARE (Yu et al. 2024, arXiv:2311.03099) before the sign election of TIES. Rescaled as in
// dare_linear.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_dare_ties_merge_method() {
  return make_task_vector_method(
      {.summary = "Random values of task vectors, scaled up, where their signs agree",
       .source = "arXiv:2311.03099",
       .keep = TaskVectorKind::Keep::at_random,
       .consensus = true,
       .normalize = false,
       .rescale = true});
}

}  // namespace smidgen
