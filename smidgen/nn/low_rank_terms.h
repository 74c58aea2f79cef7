// The low-rank attachments of a linear host as one sum that rides on its base product. Not for
// other files than the host's.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/kernels/product.h"
#include "smidgen/nn/delta.h"

namespace smidgen {

// scale x a^T of rows [row0, row1) of x: fp32 [row1 - row0, rank]. x [n, k] fp32 or bf16, columns
// packed; a fp32 [rank, k] of any strides.
at::Tensor low_rank_inner(const at::Tensor& x, int64_t row0, int64_t row1, const at::Tensor& a,
                          double scale);

// u^T z, fp32 [rank, columns of z]. z fp32 or bf16, columns packed.
at::Tensor low_rank_outer(const at::Tensor& u, const at::Tensor& z);

// What is added to a product block by block: u b at some rows and columns of it.
class LowRankSum {
 public:
  // u fp32 [rows, rank] at row0; b fp32 [rank, columns] at column0.
  void add(int64_t row0, int64_t column0, const at::Tensor& u, const at::Tensor& b);
  bool empty() const { return terms_.empty(); }
  void add_to(const ResultBlock& block) const;

 private:
  struct Term {
    int64_t row0, row1, column0, column1;
    at::Tensor u, b;
  };
  std::vector<Term> terms_;
};

}  // namespace smidgen
