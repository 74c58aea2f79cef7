// A base weight whose rows are unpacked while they are multiplied: what the formats below two bytes
// a weight have in common.
#pragma once

#include "smidgen/kernels/formats/base_weight.h"

namespace smidgen {

// A format writes `unpack`; it may be called from several threads at once. Products unpack each
// weight once for every 1024 rows (kernels/product.h): to bf16, rounded once, under bf16
// arithmetic, where they equal those of the same values held as bf16 bit for bit; in fp32 blocks of
// rows under fp32 arithmetic. A merged adapter would not survive the format's rounding, so what is
// changed is held as the arithmetic reads it.
class PackedWeight : public BaseWeight {
 public:
  using BaseWeight::BaseWeight;
  std::string_view changed_format() const override {
    return arithmetic() == Arithmetic::bf16 ? "bf16" : "fp32";
  }
  int64_t product_bytes(int64_t n, bool transposed) const override {
    return packs() ? 0 : BaseWeight::product_bytes(n, transposed);
  }

 protected:
  // Columns [begin, end) of a row.
  virtual void unpack(int64_t row, int64_t begin, int64_t end, float* out) const = 0;
  virtual void unpack(int64_t row, int64_t begin, int64_t end, Bf16* out) const = 0;

  at::Tensor do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const override;
  at::Tensor do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const override;
  void do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const override;
  void do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const override;
  at::Tensor do_tile(int64_t row0, int64_t row1) const override;
  at::Tensor do_rows(const at::Tensor& ids) const override;

 private:
  bool packs() const;
  // x W^T of rows [row0, row1) in blocks: x [n, i] of bf16, contiguous.
  void multiply(const at::Tensor& x, int64_t row0, int64_t row1, const FinishBlock& finish) const;
  // Of rows [row0, ...) and of their transpose.
  PackPanel panels(int64_t row0) const;
  PackPanel panels_transposed(int64_t row0) const;
};

}  // namespace smidgen
