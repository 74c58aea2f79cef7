// For tests of merge methods: one over tensors in memory, through the engine.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

using Values = std::vector<float>;

struct MergeCase {
  std::string method;
  std::vector<Values> inputs;
  Values base = {};                 // empty: none
  std::vector<int64_t> shape = {};  // empty: one dimension
  std::map<std::string, double> shared = {};
  std::vector<std::map<std::string, double>> by_input = {};  // missing values: the method's own
  uint64_t seed = 0;
  // Of each input; one without a shape has none. Methods that need statistics get such where the
  // list is empty, unless `bare`.
  std::vector<std::pair<std::vector<int64_t>, Values>> statistics = {};
  bool bare = false;
  Format arithmetic = Format::f32;  // inputs are rounded to it
};

// Values that neither the case nor the method gives are left out.
MergeTask task_of(const MergeCase& c);

// Values that neither the case nor the method gives fail the test.
Values merged(const MergeCase& c);

// Largest |a - b| over the largest |b|.
double relative_difference(const Values& a, const Values& b);

// Normal values, the same for the same seed.
Values normal_values(size_t count, uint64_t seed, double scale = 1);

}  // namespace smidgen
