#include "smidgen/nn/low_rank_terms.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/low_rank.h"
#include "smidgen/nn/ops_internal.h"

namespace smidgen {

at::Tensor low_rank_inner(const at::Tensor& x, int64_t row0, int64_t row1, const at::Tensor& a,
                          double scale) {
  SMIDGEN_ASSERT(x.stride(1) == 1);
  at::Tensor u = at::empty({row1 - row0, a.size(0)}, a.options());
  with_element(x, [&](const auto* rows) {
    low_rank_down(row1 - row0, x.size(1), a.size(0), static_cast<float>(scale),
                  rows + row0 * x.stride(0), x.stride(0),
                  {data<float>(a), a.stride(0), a.stride(1)}, data<float>(u), u.size(1));
  });
  return u;
}

at::Tensor low_rank_outer(const at::Tensor& u, const at::Tensor& z) {
  SMIDGEN_ASSERT(z.stride(1) == 1 && u.is_contiguous() && z.size(0) == u.size(0));
  at::Tensor g = at::empty({u.size(1), z.size(1)}, u.options());
  with_element(z, [&](const auto* rows) {
    low_rank_gradient(u.size(0), u.size(1), z.size(1), data<float>(u), u.size(1), rows, z.stride(0),
                      data<float>(g), z.size(1));
  });
  return g;
}

void LowRankSum::add(int64_t row0, int64_t column0, const at::Tensor& u, const at::Tensor& b) {
  terms_.push_back({row0, row0 + u.size(0), column0, column0 + b.size(1), u, b.contiguous()});
}

void LowRankSum::add_to(const ResultBlock& block) const {
  for (const Term& term : terms_) {
    const int64_t row0 = std::max(term.row0, block.row0),
                  row1 = std::min(term.row1, block.row0 + block.rows),
                  column0 = std::max(term.column0, block.column0),
                  column1 = std::min(term.column1, block.column0 + block.columns);
    if (row0 >= row1 || column0 >= column1) continue;
    const int64_t rank = term.u.size(1), width = term.b.size(1);
    low_rank_up(row1 - row0, rank, column1 - column0,
                term.u.const_data_ptr<float>() + (row0 - term.row0) * rank, rank,
                term.b.const_data_ptr<float>() + (column0 - term.column0), width,
                block.values + (row0 - block.row0) * block.stride + (column0 - block.column0),
                block.stride);
  }
}

}  // namespace smidgen
