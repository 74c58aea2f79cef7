// The rows of a large matrix that are nearest to some of its rows, or add up to them, found in
// blocks.
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
// Products in fp32 choose a few more than are asked for, among which distances summed in double
// decide. Memory: the targets and 4096 rows as fp32, and their products.
std::vector<std::vector<NearRow>> nearest_rows(const Source& source, const SourceTensor& tensor,
                                               std::span<const int32_t> targets,
                                               std::span<const int32_t> among, int64_t count,
                                               bool cosine);

// For each row of `targets` up to `count` rows among `among` whose weighted sum comes near to it,
// in the order in which they are picked: the one with the largest product with what is left of the
// target, after which all weights are chosen anew by least squares (orthogonal matching pursuit).
// It ends early where nothing is left, or a row adds nothing to those before it. Memory as above,
// and `count` rows for each target. Multiplications: count x targets x among x width.
std::vector<std::vector<NearRow>> pursued_rows(const Source& source, const SourceTensor& tensor,
                                               std::span<const int32_t> targets,
                                               std::span<const int32_t> among, int64_t count);

}  // namespace smidgen
