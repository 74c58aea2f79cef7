#include "smidgen/io/tensor_store.h"

#include <algorithm>
#include <utility>

#include "smidgen/base/error.h"

namespace smidgen {

TensorStore::~TensorStore() = default;

void TensorStore::read(std::span<const std::byte> bytes, std::byte* out) const {
  std::copy(bytes.begin(), bytes.end(), out);
}

void TensorTable::add(std::string name, TensorView view) {
  if (!views_.emplace(name, std::move(view)).second) {
    throw Error(ErrorKind::format, str("the tensor '", name, "' occurs twice"), where_);
  }
  names_.push_back(std::move(name));
}

TensorView TensorTable::view(const std::string& name) const {
  const auto found = views_.find(name);
  if (found == views_.end()) {
    throw Error(ErrorKind::not_found, str("there is no tensor '", name, "'"), where_,
                did_you_mean(name, names_,
                             names_.empty() ? "the file holds no tensors"
                                            : str("it holds ", join(names_, ", ", 5))));
  }
  return found->second;
}

}  // namespace smidgen
