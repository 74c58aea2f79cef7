#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/kernels/formats/unpack_row.h"

namespace smidgen {
namespace {

constexpr int64_t kChunk = 256;  // the largest block

template <class Store>
void each_value(Format format, const std::byte* row, int64_t begin, int64_t end, Store&& store) {
  const FormatInfo& type = info(format);
  SMIDGEN_ASSERT(type.elements <= kChunk);
  const int64_t last = (end + type.elements - 1) / type.elements, step = kChunk / type.elements;
  float values[kChunk];
  for (int64_t block = begin / type.elements; block < last; block += step) {
    const int64_t first = block * type.elements, blocks = std::min(step, last - block);
    to_f32(format, row + block * type.bytes, blocks * type.elements, values);
    const int64_t from = std::max(begin, first), to = std::min(end, first + blocks * type.elements);
    for (int64_t i = from; i < to; ++i) store(i - begin, values[i - first]);
  }
}

}  // namespace

void unpack_row_ref(Format format, const std::byte* row, int64_t begin, int64_t end, float* out) {
  each_value(format, row, begin, end, [=](int64_t i, float value) { out[i] = value; });
}

void unpack_row_ref(Format format, const std::byte* row, int64_t begin, int64_t end, Bf16* out) {
  each_value(format, row, begin, end, [=](int64_t i, float value) { out[i] = to_bf16(value); });
}

}  // namespace smidgen
