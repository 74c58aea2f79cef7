// A tensor store that owns its bytes: for readers that must rearrange what the file holds.
#pragma once

#include <deque>

#include "smidgen/io/tensor_store.h"

namespace smidgen {

class OwnedTensors : public TensorTable {
 public:
  using TensorTable::TensorTable;

  // Zeroed room for a tensor; its address stays. Throws usage for a shape that cannot be stored in
  // the format, format when the name is taken.
  std::span<std::byte> make(std::string name, Format format, std::vector<int64_t> shape);

 private:
  std::deque<std::vector<std::byte>> bytes_;
};

// Element (i, j) of the result is element (j, i) of `matrix`, a format of whole-byte elements.
void transpose(const TensorView& matrix, std::span<std::byte> out);

}  // namespace smidgen
