// The family of methods that add task vectors d_i = theta_i - theta_0 to a base:
//   s_i = sparsify(d_i), y_i = w_i s_i, theta = theta_0 + lambda m, and for each element
//   without consensus:  m = sum_i y_i,          divisor sum_i w_i          (1 if it is below 1e-8)
//   with consensus:     m = sum_{i in K} y_i,   divisor sum_{i in K} w_i   (1 if it is 0)
//     where K are the inputs whose y_i has the sign of sum_i y_i (plus where that is 0; y_i = 0
//     never belongs to K);
//   m is divided by the divisor with `normalize`. With `rescale`
//   s_i is multiplied by |d_i|_1 / |s_i|_1, unless one of the two is below 1e-7.
// A density of 1 or more keeps a task vector whole, one of 0 or less drops it. As mergekit 0.1.5
// (merge_methods/generalized_task_arithmetic.py, sparsify.py), all in fp32. Differs: norms are
// summed in double; random masks are a function of seed, tensor, input and element; ranks of della
// are those within the last dimension, where mergekit takes the second of three or more.
#pragma once

#include <memory>
#include <string>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

// A member of the family.
struct TaskVectorKind {
  enum class Keep { everything, largest, below_outliers, at_random, by_row_rank };
  std::string summary, source;
  Keep keep = Keep::everything;
  bool consensus = false;
  bool normalize = false, rescale = false;  // what the recipe may change
};

std::unique_ptr<const MergeMethod> make_task_vector_method(TaskVectorKind kind);

}  // namespace smidgen
