// Several updates of one base against each other: norms, cosines, agreement of signs, and the mode
// subspace overlap of every pair, for each tensor, each block and the whole.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/subspace/overlap.h"
#include "smidgen/delta/subspace/update.h"

namespace smidgen {

struct CompareOptions {
  std::vector<double> energies = standard_energies();
  // What one basis is of: a tensor, or the tensors of one block with equally many columns, stacked
  // along their rows.
  enum class Unit { tensor, block };
  Unit unit = Unit::tensor;
  std::function<void(int64_t done, int64_t total)> progress = {};
};

// Of updates a and b.
struct PairSums {
  double dot = 0;               // <Da, Db>
  int64_t both = 0, agree = 0;  // elements where neither is zero, and among them those of one sign
  std::vector<Overlap> overlaps;  // by energy; empty where one of the two is zero, and of vectors
};

struct CompareRow {
  std::string name;   // of a tensor or a stack
  std::string block;  // empty outside the blocks
  int64_t rows = 0, columns = 0;
  std::vector<double> squares;              // by update: ||D||_F^2
  std::vector<std::vector<int64_t>> ranks;  // by update: the rank that holds each energy
  std::vector<PairSums> pairs;              // (0,1), (0,2), ... (1,2), ...
};

// Sums over rows; overlaps are means over the rows that have them.
struct CompareTotal {
  std::string name;  // a block's, or "all"
  std::vector<double> squares;
  struct Pair {
    double dot = 0;
    int64_t both = 0, agree = 0, counted = 0;
    std::vector<double> overlap, random;  // by energy
  };
  std::vector<Pair> pairs;
};

struct Comparison {
  std::vector<std::string> labels;
  std::vector<double> energies;
  std::vector<std::pair<size_t, size_t>> pairs;  // which updates
  std::vector<CompareRow> rows;
  std::vector<CompareTotal> blocks;
  CompareTotal all;
  Json to_json() const;
};

// Vectors (norms, biases) count in norms, cosines and signs; a subspace of one direction says no
// more than its cosine, so they have no overlap. Memory: for each update the largest tensor in fp32
// and its basis in fp64, or for adapters their factors. Throws data where an update is zero
// everywhere or not finite, mismatch where shapes differ or two updates have no tensor in common.
Comparison compare_updates(const std::vector<std::shared_ptr<const Update>>& updates,
                           const CompareOptions& options = {});

// dot / sqrt(a b), and nothing where one is zero.
std::optional<double> cosine(double dot, double square_a, double square_b);

}  // namespace smidgen
