#include "smidgen/delta/source.h"

namespace smidgen {

Source::~Source() = default;

int64_t SourceTensor::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

int64_t SourceTensor::columns() const {
  return shape.empty() ? 1 : shape.back();
}

const SourceTensor* Source::find(const std::string& name) const {
  for (const SourceTensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

}  // namespace smidgen
