// The rows of a large matrix that are nearest to some of its rows, found in blocks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "smidgen/delta/source.h"

namespace smidgen {

struct NearRow {
  int32_t row = 0;
  float weight = 0;
};

// For each row of `targets` the `count` nearest among the rows `among` (all, where they are fewer),
// the nearest first; of equal distances the one that stands first. Weights are 1 / max(distance,
// 1e-6), with `cosine` the cosine, in both cases divided by their sum (at least 1e-6).
// The choice is made by products in fp32, the distances of the chosen are summed in double. Memory:
// the targets and 4096 rows as fp32, and their products.
std::vector<std::vector<NearRow>> nearest_rows(const Source& source, const SourceTensor& tensor,
                                               std::span<const int32_t> targets,
                                               std::span<const int32_t> among, int64_t count,
                                               bool cosine);

}  // namespace smidgen
