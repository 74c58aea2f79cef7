#include "smidgen/io/owned_tensors.h"

#include <cstring>

#include "smidgen/base/error.h"

namespace smidgen {

std::span<std::byte> OwnedTensors::make(std::string name, Format format,
                                        std::vector<int64_t> shape) {
  const auto size = packed_bytes(format, shape);
  if (!size) {
    throw Error(ErrorKind::usage,
                str("the shape ", shape_str(shape), " cannot be stored as ", info(format).name),
                str(where(), ", tensor '", name, "'"));
  }
  std::vector<std::byte>& bytes = bytes_.emplace_back(static_cast<size_t>(*size));
  add(std::move(name), {format, std::move(shape), bytes});
  return bytes;
}

void transpose(const TensorView& matrix, std::span<std::byte> out) {
  const FormatInfo& type = info(matrix.format);
  SMIDGEN_ASSERT(type.elements == 1 && matrix.shape.size() == 2 &&
                 out.size() == matrix.bytes.size());
  const auto rows = static_cast<size_t>(matrix.shape[0]);
  const auto columns = static_cast<size_t>(matrix.shape[1]), size = static_cast<size_t>(type.bytes);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; ++column) {
      std::memcpy(out.data() + (column * rows + row) * size,
                  matrix.bytes.data() + (row * columns + column) * size, size);
    }
  }
}

}  // namespace smidgen
