#include "smidgen/kernels/formats/packed_weight.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "smidgen/base/threads.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

// A strip of 64 rows by 128 columns in bf16, or of 128 rows by 64 columns, fills half of a core's
// first-level cache.
constexpr int64_t kStrip = 128;

}  // namespace

bool PackedWeight::packs() const {
  return arithmetic() == Arithmetic::bf16 && uses_bf16_products();
}

PackPanel PackedWeight::panels_transposed(int64_t row0) const {
  return [=, this](int64_t k0, int64_t k1, int64_t column0, int64_t columns, Bf16* panel) {
    alignas(64) Bf16 strip[kPanelColumns * kStrip];
    for (int64_t k = k0; k < k1; k += kStrip) {
      const int64_t width = std::min(kStrip, k1 - k);
      for (int64_t j = 0; j < columns; ++j)
        unpack(row0 + column0 + j, k, k + width, strip + j * kStrip);
      tile_kernels().pack_transposed(width, columns, strip, kStrip,
                                     panel + (k - k0) * kPanelColumns);
    }
  };
}

PackPanel PackedWeight::panels(int64_t row0) const {
  return [=, this](int64_t k0, int64_t k1, int64_t column0, int64_t columns, Bf16* panel) {
    alignas(64) Bf16 strip[kStrip * kPanelColumns];
    for (int64_t k = k0; k < k1; k += kStrip) {
      const int64_t rows = std::min(kStrip, k1 - k);
      for (int64_t i = 0; i < rows; ++i)
        unpack(row0 + k + i, column0, column0 + columns, strip + i * kPanelColumns);
      tile_kernels().pack(rows, columns, strip, kPanelColumns, panel + (k - k0) * kPanelColumns);
    }
  };
}

void PackedWeight::multiply(const at::Tensor& x, int64_t row0, int64_t row1,
                            const FinishBlock& finish) const {
  multiply_packed(x.size(0), in_features(), row1 - row0, halves(x), in_features(),
                  panels_transposed(row0), finish);
}

at::Tensor PackedWeight::do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const {
  if (!packs()) return BaseWeight::do_matmul(x, row0, row1);
  const at::Tensor rows = x.contiguous();
  at::Tensor y = at::empty({rows.size(0), row1 - row0}, rows.options());
  multiply(rows, row0, row1, rounding_into(y));
  return y;
}

at::Tensor PackedWeight::do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const {
  if (!packs()) return BaseWeight::do_matmul_t(dy, row0, row1);
  const at::Tensor rows = dy.contiguous();
  at::Tensor dx = at::empty({rows.size(0), in_features()}, rows.options());
  multiply_packed(rows.size(0), row1 - row0, in_features(), halves(rows), row1 - row0, panels(row0),
                  rounding_into(dx));
  return dx;
}

void PackedWeight::do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const {
  if (!packs()) return BaseWeight::do_matmul_blocks(x, finish);
  multiply(x.contiguous(), 0, out_features(), finish);
}

void PackedWeight::do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const {
  if (!packs()) return BaseWeight::do_matmul_t_blocks(dy, finish);
  const at::Tensor rows = dy.contiguous();
  multiply_packed(rows.size(0), out_features(), in_features(), halves(rows), out_features(),
                  panels(0), finish);
}

at::Tensor PackedWeight::do_tile(int64_t row0, int64_t row1) const {
  const int64_t width = in_features();
  at::Tensor rows = at::empty({row1 - row0, width}, at::kFloat);
  float* const out = rows.mutable_data_ptr<float>();
  parallel_for(row1 - row0, std::max<int64_t>(1, (int64_t{1} << 14) / width),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row)
                   unpack(row0 + row, 0, width, out + row * width);
               });
  return rows;
}

at::Tensor PackedWeight::do_rows(const at::Tensor& ids) const {
  const int64_t width = in_features();
  at::Tensor rows = at::empty({ids.numel(), width}, at::kFloat);
  const int64_t* id = ids.const_data_ptr<int64_t>();
  float* const out = rows.mutable_data_ptr<float>();
  for (int64_t i = 0; i < ids.numel(); ++i) unpack(id[i], 0, width, out + i * width);
  return rows;
}

}  // namespace smidgen
