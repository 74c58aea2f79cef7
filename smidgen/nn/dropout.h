// Dropout whose mask is a function of where it falls: seed, step, site, row and column. There is no
// generator to save, a resumed run drops the same elements, and so does the backward pass, which
// asks for the mask again instead of keeping it.
#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

namespace smidgen {

// Where in a run the model stands. Whoever trains moves it; attachments read it. Off by default:
// evaluation and generation drop nothing.
struct DropoutClock {
  bool on = false;
  uint64_t seed = 0;
  uint64_t step = 0;
  int64_t first_row = 0;  // rows of the step before this micro-batch, so that the masks do not
                          // depend on how a step is cut
};

// On for as long as it lives: one forward pass and its backward.
class DropoutScope {
 public:
  DropoutScope(DropoutClock& clock, uint64_t seed, uint64_t step, int64_t first_row)
      : clock_(clock) {
    clock_ = {.on = true, .seed = seed, .step = step, .first_row = first_row};
  }
  ~DropoutScope() { clock_ = {}; }
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;

 private:
  DropoutClock& clock_;
};

// What the rows of x are multiplied by, fp32 [rows, columns]: 0 with probability p, else
// 1 / (1 - p). Undefined where nothing is dropped. Row i is row clock.first_row + i of the step, so
// x must begin with the micro-batch's first row.
at::Tensor dropout_mask(const DropoutClock& clock, double p, std::string_view site, int64_t rows,
                        int64_t columns);

}  // namespace smidgen
