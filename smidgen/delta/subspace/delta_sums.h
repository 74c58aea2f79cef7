// Inner products and signs of deltas of one shape.
#pragma once

#include <cstdint>

#include "smidgen/nn/delta.h"

namespace smidgen {

// <a, b>, in double. Of two low-rank deltas by their factors: s t trace((B^T B')(A' A^T)).
double dot(const Delta& a, const Delta& b);

// Elements where neither is zero, and among them those of one sign. Low-rank deltas are multiplied
// out in fp32, some rows at a time.
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
