#include "smidgen/kernels/formats/block_weight.h"

#include "smidgen/base/error.h"
#include "smidgen/kernels/formats/unpack_row.h"

namespace smidgen {

BlockWeight::BlockWeight(WeightSource source, Arithmetic arithmetic)
    : PackedWeight(source.rows, source.columns, arithmetic), source_(std::move(source)) {
  SMIDGEN_ASSERT(source_.stored);
  std::vector<std::string_view> names;
  for (const Format format : source_.formats) names.push_back(info(format).name);
  name_ = join(names, "+");
  rows_.reserve(static_cast<size_t>(source_.rows));
  formats_.reserve(static_cast<size_t>(source_.rows));
  for (int64_t row = 0; row < source_.rows; ++row) {
    const StoredRow at = source_.stored(row);
    rows_.push_back(at.bytes);
    formats_.push_back(at.format);
    const FormatInfo& type = info(at.format);
    bytes_ += static_cast<size_t>(source_.columns / type.elements * type.bytes);
  }
}

void BlockWeight::unpack(int64_t row, int64_t begin, int64_t end, float* out) const {
  const auto i = static_cast<size_t>(row);
  unpack_row(formats_[i], rows_[i], begin, end, out);
}

void BlockWeight::unpack(int64_t row, int64_t begin, int64_t end, Bf16* out) const {
  const auto i = static_cast<size_t>(row);
  unpack_row(formats_[i], rows_[i], begin, end, out);
}

}  // namespace smidgen
