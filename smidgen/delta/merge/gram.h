// Merges of whole vectors by their lengths and angles: sum the products of all pairs of vectors
// (their Gram matrix), turn those few numbers into weights, write the weighted sum. What such a
// method does in the space of its parameters (interpolate on a sphere, iterate to a mean) it does
// in the space of the weights, so a tensor is read twice however long the method iterates.
//
// Differences from a base and products are taken in double, products are summed in double. An angle
// th between nearly equal vectors is uncertain by about 1e-15 / th; weights depend on its square,
// so they keep 1e-15. Nearly opposite vectors (pi - th = f) keep 1e-15 / f^2, where fp32 keeps
// nothing below f = 1e-3.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "smidgen/delta/merge/method.h"

namespace smidgen {

// Products v_i . v_j of n vectors.
class Gram {
 public:
  // `products` of the pairs (0,0), (0,1) .. (0,n-1), (1,1) ..; they must outlive this.
  Gram(size_t vectors, std::span<const double> products) : n_(vectors), products_(products) {}
  static size_t pairs(size_t vectors) { return vectors * (vectors + 1) / 2; }

  size_t size() const { return n_; }
  double dot(size_t i, size_t j) const;
  double norm(size_t i) const;
  double dot(size_t i, std::span<const double> weights) const;  // v_i . sum_j w_j v_j
  double norm(std::span<const double> weights) const;           // |sum_j w_j v_j|

 private:
  size_t n_;
  std::span<const double> products_;
};

struct GramPlan {
  enum class Vectors {
    models,           // the inputs
    base_and_models,  // the base is vector 0
    differences,      // inputs minus base; the weighted sum is added to the base
  };
  // What is one vector: the tensor, each line of the last dimension, or each along the first.
  enum class Along { tensor, last, first };
  Vectors vectors = Vectors::models;
  Along along = Along::tensor;
};

// Writes one weight for each vector. Runs on several threads at once.
using GramWeights = std::function<void(const Gram& gram, std::span<double> weights)>;

// Passes: none for lines of the last dimension up to kLongRow, one else; along the first dimension
// as many as keep the sums of all tiles within 128 MiB.
class GramMerge : public TensorMerge {
 public:
  GramMerge(const MergeTask& task, GramPlan plan, GramWeights weights);

  std::optional<PassSize> pass_size(int pass) const override;
  void reduce(int pass, const Chunk& chunk, const Partial& partial) const override;
  void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts) override;
  void emit(const Chunk& chunk, float* out) const override;

 private:
  struct Lines;  // values of a chunk as vectors
  bool along_first() const { return plan_.along == GramPlan::Along::first; }
  void weigh(std::span<const double> products, std::span<double> shares) const;
  void reduce_columns(int pass, Lines& lines, const Chunk& chunk, double* sums) const;
  void finish_columns(int pass, std::span<const double> sums);

  GramPlan plan_;
  GramWeights weights_;
  size_t vectors_, parts_, pairs_;  // parts: what is added up, the vectors and often the base
  int64_t tile_;                    // elements of a tile
  int64_t length_;                  // elements of a vector; along the first dimension: how many
  int64_t lines_, slots_;           // vectors in the tensor, and those that a tile can touch
  int64_t block_ = 0;               // along the first dimension: vectors summed in a pass
  bool stored_;                     // whether passes make the shares
  std::vector<double> shares_;      // [lines, parts]; along the first dimension [parts, lines]
};

}  // namespace smidgen
