// Task arithmetic (Ilharco et al. 2023, arXiv:2212.04089): theta_0 + sum_i w_i d_i.
#include "smidgen/delta/merge/task_vectors.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_task_arithmetic_merge_method() {
  return make_task_vector_method({.summary = "Weighted sum of task vectors",
                                  .source = "arXiv:2212.04089",
                                  .keep = TaskVectorKind::Keep::everything,
                                  .consensus = false,
                                  .normalize = false,
                                  .rescale = false});
}

}  // namespace smidgen
