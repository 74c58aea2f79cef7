// For tests of subspaces: matrices of a known make, and models in memory.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/base/json.h"
#include "smidgen/delta/source.h"
#include "smidgen/delta/subspace/update.h"

namespace smidgen {

// Normal numbers, fp64 [rows, columns], the same for the same seed.
at::Tensor normal_matrix(int64_t rows, int64_t columns, uint64_t seed);
// The Q of such a matrix.
at::Tensor orthonormal_columns(int64_t rows, int64_t columns, uint64_t seed);

// A model of fp32 tensors that exists in memory only.
std::shared_ptr<const Source> memory_source(
    std::string label, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
    Json config = nullptr);

// The tensors against zeros.
std::shared_ptr<const Update> update_of(
    std::string label, const std::vector<std::pair<std::string, at::Tensor>>& tensors);

// Low-rank deltas by name, as an adapter gives them.
std::shared_ptr<const Update> update_of_factors(std::string label,
                                                std::map<std::string, LowRankDelta> deltas);

// Q Q^T: what a basis is, whatever its signs and rotations.
at::Tensor projector(const at::Tensor& q);

double largest(const at::Tensor& t);  // |t|

}  // namespace smidgen
