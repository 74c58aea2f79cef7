// A frozen matrix. Letters: n rows of the batch, o = out features, i = in features; W is [o, i] as
// in HF files.
#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "smidgen/kernels/arithmetic.h"
#include "smidgen/kernels/product.h"

namespace smidgen {

// One copy of the weights in memory, from which both products are computed: W x for the forward
// pass and W^T dy for input gradients. Nothing here takes part in autograd; the host that owns the
// weight differentiates.
//
// A format must write `tile`; the rest works through it, block by block, at the price of unpacking
// for each call. Arguments may be fp32 or bf16 and need not be contiguous. Products return the
// arithmetic's dtype: fp32 under Arithmetic::fp32, bf16 under Arithmetic::bf16 whatever the storage
// is. Throws mismatch when widths disagree and usage when a row or id lies outside.
class BaseWeight {
 public:
  BaseWeight(int64_t out_features, int64_t in_features, Arithmetic arithmetic);
  virtual ~BaseWeight();
  BaseWeight(const BaseWeight&) = delete;
  BaseWeight& operator=(const BaseWeight&) = delete;

  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }
  Arithmetic arithmetic() const { return arithmetic_; }
  at::ScalarType dtype() const { return scalar_type(arithmetic_); }  // of the products

  // How the weights lie in memory: a name of the registry, or of the blocks they have in a file.
  virtual std::string_view format() const = 0;
  // The registry's name for these weights with something added to them: how a merged adapter is
  // held.
  virtual std::string_view changed_format() const { return format(); }
  virtual size_t bytes() const = 0;  // memory held by the weights
  // What matmul_blocks (matmul_t_blocks) of n rows allocates for itself, at most.
  virtual int64_t product_bytes(int64_t n, bool transposed) const;

  at::Tensor matmul(const at::Tensor& x) const;     // x [n, i]  -> x W^T [n, o]
  at::Tensor matmul_t(const at::Tensor& dy) const;  // dy [n, o] -> dy W [n, i]
  // The same product with the rows [row0, row1) of W only: one site of a group of fused linears.
  at::Tensor matmul_rows(const at::Tensor& x, int64_t row0,
                         int64_t row1) const;  // [n, row1 - row0]
  at::Tensor matmul_t_rows(const at::Tensor& dy, int64_t row0,
                           int64_t row1) const;  // dy [n, row1 - row0]

  // The two products of the whole matrix in fp32, block by block, before anything is rounded: what
  // the host adds to a product costs no pass over memory.
  void matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const;
  void matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const;

  at::Tensor tile(int64_t row0, int64_t row1) const;  // fp32 [row1 - row0, i], a fresh tensor
  at::Tensor rows(const at::Tensor& ids) const;  // ids int64 [n] -> fp32 [n, i]: embedding look-up
  at::Tensor row_norms() const;                  // Euclidean norm of each row, fp32 [o]

 protected:
  // Bounds and dtypes are checked before these run: x and dy arrive in dtype(), 2-D.
  virtual at::Tensor do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const;
  virtual at::Tensor do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const;
  virtual void do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const;
  virtual void do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const;
  virtual at::Tensor do_tile(int64_t row0, int64_t row1) const = 0;
  virtual at::Tensor do_rows(const at::Tensor& ids) const;
  virtual at::Tensor do_row_norms() const;

 private:
  void check_range(int64_t row0, int64_t row1) const;
  int64_t out_features_, in_features_;
  Arithmetic arithmetic_;
};

// For formats: the elements of a bf16 tensor, and where a product of bf16 arithmetic is kept, [m,
// n], each sum rounded once.
const Bf16* halves(const at::Tensor& x);
FinishBlock rounding_into(at::Tensor& y);

}  // namespace smidgen
