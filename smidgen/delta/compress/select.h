// The k largest magnitudes of a long vector and its moments, without sorting it and without holding
// it: one pass as a rule, after a look at a sample.
#pragma once

#include "smidgen/delta/compress/flat_vector.h"

namespace smidgen {

struct Moments {
  int64_t count = 0;
  double mean = 0;
  double deviation = 0;  // sqrt(sum (x - mean)^2 / (count - 1)); 0 for fewer than two values
  double norm = 0;       // sqrt(sum x^2)
};

// Kept is what is larger in magnitude than `threshold`, and the first `ties` of those that equal
// it.
struct Cut {
  float threshold = 0;
  int64_t ties = 0;
};

struct Selection {
  Moments moments;
  Cut cut;
};

// Keeps exactly k values; of equal magnitudes those with the lowest index. With `reference`: as
// ComPEFT's code does (topk_values_mask of its ties_utils.py), the (d - k)-th smallest magnitude is
// the threshold and everything that reaches it is kept, so k + 1 values and all that tie with the
// last. Throws data, naming the tensor, where a value is no finite number.
Selection select_largest(const FlatVector& vector, int64_t k, bool reference);

}  // namespace smidgen
