// What differs between two tensors, or two sets of them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/source.h"

namespace smidgen {

// Over elements a and b in fp32. An element differs where a != b, or where one of the two is NaN.
struct ValueDifference {
  int64_t elements = 0;
  int64_t differing = 0;
  int64_t not_finite = 0;   // differing ones without a difference: NaN, or infinite. In no figure.
  double max_abs = 0;       // max |a - b|
  double largest = 0;       // max |a|
  double squares = 0;       // sum of (a - b)^2
  double relative() const;  // max_abs / largest; 0 where nothing differs
  double rms() const;       // sqrt(squares / elements)
};

struct TensorDifference {
  std::string name;
  std::optional<SourceTensor> first, second;  // none: it is not there
  bool same_bits = false;                     // and the same format and shape
  // Where both are there with one shape and their bits or formats differ; none too for formats
  // without a value here (integers, and what io/dequantise.h does not read).
  std::optional<ValueDifference> values;

  bool equal() const { return same_bits; }
  Json to_json() const;
};

ValueDifference value_difference(const Source& first, const SourceTensor& a, const Source& second,
                                 const SourceTensor& b);

// In the order of `first`, then what only `second` has. Bits of tensors that lie in files are
// compared as bytes; of those that are computed, as fp32. Memory: a few chunks a thread.
std::vector<TensorDifference> tensor_differences(
    const Source& first, const Source& second,
    const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace smidgen
