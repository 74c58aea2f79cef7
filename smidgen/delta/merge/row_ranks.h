// Ranks within rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace smidgen {

// Ranks the magnitudes of rows of `columns` values, at most 2^32; one object for many rows.
class RowRanks {
 public:
  explicit RowRanks(size_t columns);
  // The rank of each value: 0 is the smallest, and of equal ones that of the lowest index. Valid
  // until the next call.
  std::span<const uint32_t> of(const float* row);

 private:
  std::vector<uint64_t> items_, room_;  // magnitude's bits and index
  std::vector<uint32_t> ranks_;
};

}  // namespace smidgen
