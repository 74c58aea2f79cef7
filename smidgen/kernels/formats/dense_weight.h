// A base weight that is one plain tensor: what the fp32 and bf16 formats have in common.
#pragma once

#include <memory>
#include <string>

#include "smidgen/kernels/formats/base_weight.h"
#include "smidgen/kernels/formats/weight_source.h"

namespace smidgen {

class DenseWeight final : public BaseWeight {
 public:
  // `weights` [o, i] is kept, not copied.
  DenseWeight(at::Tensor weights, std::string format, Arithmetic arithmetic);

  std::string_view format() const override { return format_; }
  int64_t product_bytes(int64_t n, bool transposed) const override;
  size_t bytes() const override { return weights_.nbytes(); }

 protected:
  at::Tensor do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const override;
  at::Tensor do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const override;
  void do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const override;
  void do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const override;
  at::Tensor do_tile(int64_t row0, int64_t row1) const override;
  at::Tensor do_rows(const at::Tensor& ids) const override;

 private:
  // Whether products run on kernels/product.h and row_product.h.
  bool packs() const;
  // x W^T of rows [row0, row1) of W, where packs().
  void multiply(const at::Tensor& x, int64_t row0, int64_t row1, const FinishBlock& finish) const;
  const Bf16* row(int64_t i) const { return halves(weights_) + i * in_features(); }
  at::Tensor weights_;
  std::string format_;
};

// Reads the source into a new tensor of `storage`, by row blocks on all threads; beside the result
// only one block per thread is held in fp32.
std::shared_ptr<const BaseWeight> pack_dense(const WeightSource& source, at::ScalarType storage,
                                             std::string format, Arithmetic arithmetic);

}  // namespace smidgen
