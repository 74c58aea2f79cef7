// Keys and values of earlier tokens, one contiguous buffer per layer and sequence.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace smidgen {

class KvCache {
 public:
  // Buffers of `capacity` tokens for each of `sequences`; they are allocated as they fill.
  KvCache(int64_t layers, int64_t sequences, int64_t capacity, int64_t heads, int64_t head_dim,
          at::ScalarType dtype);

  // Appends k, v [n, heads, head_dim] of sequence s to a layer and returns all keys and values it
  // now holds. Throws data when they do not fit. The length of the sequence moves on with
  // advance(), once per forward pass.
  std::pair<at::Tensor, at::Tensor> append(int64_t layer, int64_t s, const at::Tensor& k,
                                           const at::Tensor& v);
  void advance(int64_t s, int64_t tokens);
  // Forgets everything after the first `tokens` of a sequence.
  void truncate(int64_t s, int64_t tokens);
  // Drops all sequences but these (ascending); they are counted anew from 0.
  void keep(const std::vector<int64_t>& sequences);

  int64_t length(int64_t s) const { return lengths_[static_cast<size_t>(s)]; }
  int64_t capacity() const { return capacity_; }
  int64_t sequences() const { return static_cast<int64_t>(lengths_.size()); }

 private:
  struct Buffer {
    at::Tensor k, v;  // [allocated, heads, head_dim]
  };
  Buffer& buffer(int64_t layer, int64_t s) {
    return buffers_[static_cast<size_t>(layer * sequences() + s)];
  }
  int64_t capacity_, heads_, head_dim_;
  at::ScalarType dtype_;
  std::vector<int64_t> lengths_;
  std::vector<Buffer> buffers_;
};

}  // namespace smidgen
