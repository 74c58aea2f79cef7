// The signs of a tensor as one payload of independent blocks, so that they are decoded on all
// cores and piece by piece:
//   u32[blocks] bytes of each block     only where there are several
//   the blocks
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "smidgen/io/codecs/registry.h"

namespace smidgen {

constexpr int64_t kSignBlock = int64_t{1} << 17;  // elements

inline int64_t sign_blocks(int64_t count) {
  return (count + kSignBlock - 1) / kSignBlock;
}

// Appends the encoded blocks of a tensor of `count` elements, one after the other.
class BlockWriter {
 public:
  BlockWriter(int64_t count, std::string& out);
  void add(std::string_view block);

 private:
  std::string& out_;
  bool table_;
  size_t next_;  // entry of the table
};

// All at once.
std::string encode_signs(const SignCodec& codec, const SignView& signs);

class SignBlocks {
 public:
  // Throws format when the table does not fit the payload.
  SignBlocks(const SignCodec& codec, Payload payload, int64_t count, std::string where);

  int64_t count() const { return count_; }
  int64_t blocks() const { return sign_blocks(count_); }
  int64_t size(int64_t block) const { return std::min(kSignBlock, count_ - block * kSignBlock); }
  // `out` holds size(block) elements, all zero.
  void decode(int64_t block, const SignSpan& out) const;
  Signs decode() const;

 private:
  const SignCodec& codec_;
  Payload payload_;
  int64_t count_;
  std::string where_;
  std::vector<size_t> ends_;  // of each block, in the payload; empty for one block
  size_t first_ = 0;
};

}  // namespace smidgen
