#include "smidgen/nn/delta.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

at::Tensor tile(const Delta& delta, int64_t row0, int64_t row1) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) {
    return at::matmul(low->b.narrow(0, row0, row1 - row0), low->a).mul_(low->scale);
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
  return std::get<DenseDelta>(delta).values.to(at::kDouble).norm().item<double>();
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
    const bool factored = std::holds_alternative<LowRankDelta>(deltas[i]);
    const int64_t rows = factored ? std::get<LowRankDelta>(deltas[i]).b.size(0)
                                  : std::get<DenseDelta>(deltas[i]).values.size(0);
    const at::Tensor dense = tile(deltas[i], 0, rows) * weights[i];
    sum = sum.defined() ? sum + dense : dense;
  }
  return DenseDelta{sum};
}

}  // namespace smidgen
