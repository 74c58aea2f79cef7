#include "smidgen/delta/compress/ternary_delta.h"

#include <torch/torch.h>

#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

// Bits [begin, begin + count) of `from`, at the beginning of `to`.
void copy_bits(const std::vector<uint64_t>& from, int64_t begin, int64_t count, uint64_t* to) {
  const auto shift = static_cast<int>(begin % 64);
  auto at = static_cast<size_t>(begin / 64);
  for (; count > 0; count -= 64, ++at, ++to) {
    *to = from[at] >> shift;
    if (shift && at + 1 < from.size()) *to |= from[at + 1] << (64 - shift);
    if (count < 64) *to &= (uint64_t{1} << count) - 1;
  }
}

}  // namespace

TernaryDelta ternary_delta(const DeltaFiles& files, const DeltaTensor& tensor) {
  SMIDGEN_ASSERT(files.kind == DeltaKind::ternary);
  const Signs signs = TensorDelta(files, tensor).signs().decode();
  const int64_t columns = tensor.columns();
  const int64_t rows = columns ? tensor.elements() / columns : 0, words = sign_words(columns);
  TernaryDelta delta{at::empty({rows, words}, at::kLong), at::empty({rows, words}, at::kLong),
                     columns, static_cast<double>(files.scale)};
  const auto fill = [&](const std::vector<uint64_t>& from, at::Tensor& to) {
    auto* const bits = reinterpret_cast<uint64_t*>(to.mutable_data_ptr<int64_t>());
    parallel_for(rows, std::max<int64_t>(1, (1 << 12) / std::max<int64_t>(1, words)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t r = begin; r < end; ++r)
                     copy_bits(from, r * columns, columns, bits + r * words);
                 });
  };
  fill(signs.positive, delta.positive);
  fill(signs.negative, delta.negative);
  return delta;
}

}  // namespace smidgen
