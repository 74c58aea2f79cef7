#include "smidgen/kernels/formats/block_weight.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/kernels/block_product.h"
#include "smidgen/kernels/formats/unpack_row.h"
#include "smidgen/kernels/row_product.h"

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

void BlockWeight::do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const {
  const bool few = x.size(0) <= kFewRows && arithmetic() == Arithmetic::bf16 &&
                   std::all_of(source_.formats.begin(), source_.formats.end(), has_block_product);
  if (!few) return PackedWeight::do_matmul_blocks(x, finish);
  const at::Tensor rows = x.contiguous();
  const FixedRows fixed = to_fixed(rows.size(0), in_features(),
                                   static_cast<const Bf16*>(rows.const_data_ptr()), in_features());
  multiply_blocks(fixed, {rows_, formats_}, finish);
}

}  // namespace smidgen
