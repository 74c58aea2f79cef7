// Values of a tensor that lies in a file.
#pragma once

#include <span>
#include <string>

#include "smidgen/io/tensor_store.h"

namespace smidgen {

// Elements [begin, begin + out.size()) as fp32, whole blocks of the tensor's format. Copied, so
// that no pages of a mapped file stay in memory.
void read_stored(const TensorStore& store, const std::string& name, int64_t begin,
                 std::span<float> out);

}  // namespace smidgen
