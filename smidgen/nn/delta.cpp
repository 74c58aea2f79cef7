#include "smidgen/nn/delta.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

int64_t rows(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) return low->b.size(0);
  if (const auto* some = std::get_if<RowsDelta>(&delta)) return some->rows;
  return std::get<DenseDelta>(delta).values.size(0);
}

at::Tensor tile(const Delta& delta, int64_t row0, int64_t row1) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) {
    return at::matmul(low->b.narrow(0, row0, row1 - row0), low->a).mul_(low->scale);
  }
  if (const auto* some = std::get_if<RowsDelta>(&delta)) {
    at::Tensor out = at::zeros({row1 - row0, some->values.size(1)}, some->values.options());
    const at::Tensor inside =
        some->index.ge(row0).logical_and(some->index.lt(row1)).nonzero().view({-1});
    return out.index_copy_(0, some->index.index_select(0, inside) - row0,
                           some->values.index_select(0, inside));
  }
  return std::get<DenseDelta>(delta).values.narrow(0, row0, row1 - row0);
}

void add_to(const Delta& delta, int64_t row0, at::Tensor& out) {
  out.add_(tile(delta, row0, row0 + out.size(0)));
}

double norm(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) {
    // ||B A||^2 = trace((B^T B)(A A^T)): two small Gram matrices instead of the product.
    const at::Tensor a = low->a.to(at::kDouble), b = low->b.to(at::kDouble);
    const at::Tensor gram = at::matmul(b.t(), b).mul(at::matmul(a, a.t()).t());
    return std::abs(low->scale) * std::sqrt(std::max(0.0, gram.sum().item<double>()));
  }
  const auto* some = std::get_if<RowsDelta>(&delta);
  const at::Tensor& values = some ? some->values : std::get<DenseDelta>(delta).values;
  return values.to(at::kDouble).norm().item<double>();
}

Delta combine(const std::vector<Delta>& deltas, const std::vector<double>& weights) {
  SMIDGEN_ASSERT(!deltas.empty() && deltas.size() == weights.size());
  // One delta of weight 1 is itself, to the bit.
  if (deltas.size() == 1 && weights[0] == 1) return deltas[0];
  bool low = true;
  for (const Delta& delta : deltas) low = low && std::holds_alternative<LowRankDelta>(delta);
  if (low) {
    std::vector<at::Tensor> a, b;
    for (size_t i = 0; i < deltas.size(); ++i) {
      const auto& part = std::get<LowRankDelta>(deltas[i]);
      a.push_back(part.a);
      b.push_back(part.b * (part.scale * weights[i]));
    }
    return LowRankDelta{at::cat(a, 0), at::cat(b, 1), 1};
  }
  at::Tensor sum;
  for (size_t i = 0; i < deltas.size(); ++i) {
    const at::Tensor dense = tile(deltas[i], 0, rows(deltas[i])) * weights[i];
    sum = sum.defined() ? sum + dense : dense;
  }
  return DenseDelta{sum};
}

}  // namespace smidgen
