// DARE (Yu et al. 2024, arXiv:2311.03099): drop at random and rescale. As mergekit, to the
// magnitude that the whole had, where the paper divides by the density.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_dare_linear_merge_method() {
  return make_task_vector_method({.summary = "Random values of task vectors, scaled up",
                                  .source = "arXiv:2311.03099",
                                  .keep = TaskVectorKind::Keep::at_random,
                                  .consensus = false,
                                  .normalize = false,
                                  .rescale = true});
}

}  // namespace smidgen
