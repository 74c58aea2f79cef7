// Signs of deltas of one shape, and deltas below each other. Inner products are in nn/delta.h.
#pragma once

#include <cstdint>

#include "smidgen/nn/delta.h"

namespace smidgen {

// Elements where neither is zero, and among them those of one sign. Two ternary deltas: by counting
// bits. Low-rank deltas are multiplied out in fp32, some rows at a time.
struct SignCount {
  int64_t both = 0, agree = 0;
};
SignCount compare_signs(const Delta& a, const Delta& b);

// Deltas one below the other, of equally many columns. Low-rank ones stay low-rank: B is
// block-diagonal. A delta without value stands for zeros.
struct StackPart {
  int64_t rows = 0;
  const Delta* delta = nullptr;  // null: zeros
};
Delta stack(const std::vector<StackPart>& parts, int64_t columns);

}  // namespace smidgen
