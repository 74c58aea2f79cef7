// A base weight in the block formats of GGUF, where and as they lie in the file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/kernels/formats/packed_weight.h"
#include "smidgen/kernels/formats/weight_source.h"

namespace smidgen {

// Nothing is copied: the pages of the mapped file are the one copy of the weights, and the rows are
// found through a table, which undoes what a file does to their order. Rows may differ in format:
// GGUF's mixed files often hold q and k in another one than v.
//
// Under bf16 arithmetic the forward product of up to kFewRows rows, what generation asks for, is
// kernels/block_product.h's where the machine has it: nearer to the exact product than that of many
// rows, which rounds the weights to bf16, and not equal to it.
class BlockWeight final : public PackedWeight {
 public:
  // A source with `stored` rows, of any format that can be read.
  BlockWeight(WeightSource source, Arithmetic arithmetic);

  // "q4_1", or "q4_k+q6_k" where rows differ.
  std::string_view format() const override { return name_; }
  // What the products read; pages of the file.
  size_t bytes() const override { return bytes_; }

 protected:
  void unpack(int64_t row, int64_t begin, int64_t end, float* out) const override;
  void unpack(int64_t row, int64_t begin, int64_t end, Bf16* out) const override;
  void do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const override;

 private:
  WeightSource source_;  // keeps the file open
  std::vector<const std::byte*> rows_;
  std::vector<Format> formats_;  // of each row
  std::string name_;
  size_t bytes_ = 0;
};

}  // namespace smidgen
