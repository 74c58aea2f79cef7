#include "smidgen/nn/delta.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/ternary.h"

namespace smidgen {

namespace {

// For more rows than this a tile of the matrix is unfolded and multiplied by the product of dense
// matrices, which is faster by then.
constexpr int64_t kMaskedRows = 16;
constexpr int64_t kTileRows = 64;

const uint64_t* words(const at::Tensor& bits, int64_t row) {
  return reinterpret_cast<const uint64_t*>(bits.const_data_ptr<int64_t>()) + row * bits.size(1);
}

// The rows of `out` that a thread takes, so that they are worth one.
int64_t row_grain(int64_t columns) {
  return std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, columns));
}

void add_ternary(const TernaryDelta& delta, int64_t row0, at::Tensor& out) {
  const int64_t in = delta.columns;
  SMIDGEN_ASSERT(out.is_contiguous() && out.scalar_type() == at::kFloat && out.size(1) == in);
  float* const values = out.mutable_data_ptr<float>();
  parallel_for(out.size(0), row_grain(in), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      ternary_add(in, words(delta.positive, row0 + r), words(delta.negative, row0 + r),
                  static_cast<float>(delta.scale), values + r * in);
  });
}

double ternary_dots(const TernaryDelta& x, const TernaryDelta& y) {
  int64_t total = ternary_dot(x.positive.numel(), words(x.positive, 0), words(x.negative, 0),
                              words(y.positive, 0), words(y.negative, 0));
  return x.scale * y.scale * static_cast<double>(total);
}

// sum of t_ij y_ij over rows [row0, row0 + y.size(0)), without the scale.
double ternary_sums(const TernaryDelta& t, int64_t row0, const at::Tensor& y) {
  const at::Tensor dense = y.contiguous();
  const float* const values = dense.const_data_ptr<float>();
  double sum = 0;
  for (int64_t r = 0; r < dense.size(0); ++r) {
    sum += static_cast<double>(ternary_sum(t.columns, words(t.positive, row0 + r),
                                           words(t.negative, row0 + r), values + r * t.columns));
  }
  return sum;
}

// <B1 A1, B2 A2> = sum((B1^T B2) o (A1 A2^T)).
double low_rank_dot(const LowRankDelta& x, const LowRankDelta& y) {
  const at::Tensor b = at::matmul(x.b.to(at::kDouble).t(), y.b.to(at::kDouble));
  const at::Tensor a = at::matmul(x.a.to(at::kDouble), y.a.to(at::kDouble).t());
  return x.scale * y.scale * b.mul(a).sum().item<double>();
}

}  // namespace

int64_t rows(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) return low->b.size(0);
  if (const auto* some = std::get_if<RowsDelta>(&delta)) return some->rows;
  if (const auto* ternary = std::get_if<TernaryDelta>(&delta)) return ternary->positive.size(0);
  return std::get<DenseDelta>(delta).values.size(0);
}

int64_t columns(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) return low->a.size(1);
  if (const auto* some = std::get_if<RowsDelta>(&delta)) return some->values.size(1);
  if (const auto* ternary = std::get_if<TernaryDelta>(&delta)) return ternary->columns;
  return std::get<DenseDelta>(delta).values.size(1);
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
  if (const auto* ternary = std::get_if<TernaryDelta>(&delta)) {
    at::Tensor out = at::zeros({row1 - row0, ternary->columns}, at::kFloat);
    add_ternary(*ternary, row0, out);
    return out;
  }
  return std::get<DenseDelta>(delta).values.narrow(0, row0, row1 - row0);
}

void add_to(const Delta& delta, int64_t row0, at::Tensor& out) {
  const auto* ternary = std::get_if<TernaryDelta>(&delta);
  if (ternary && out.is_contiguous() && out.scalar_type() == at::kFloat)
    return add_ternary(*ternary, row0, out);
  out.add_(tile(delta, row0, row0 + out.size(0)));
}

// Rounding may leave a sum of squares below zero; a NaN must stay one, which max(0, NaN) is not.
static double root(double squares) {
  return squares < 0 ? 0 : std::sqrt(squares);
}

double norm(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) {
    // ||B A||^2 = trace((B^T B)(A A^T)): two small Gram matrices instead of the product.
    const at::Tensor a = low->a.to(at::kDouble), b = low->b.to(at::kDouble);
    const at::Tensor gram = at::matmul(b.t(), b).mul(at::matmul(a, a.t()).t());
    return std::abs(low->scale) * root(gram.sum().item<double>());
  }
  if (const auto* ternary = std::get_if<TernaryDelta>(&delta))
    return root(ternary_dots(*ternary, *ternary));
  const auto* some = std::get_if<RowsDelta>(&delta);
  const at::Tensor& values = some ? some->values : std::get<DenseDelta>(delta).values;
  return values.to(at::kDouble).norm().item<double>();
}

double dot(const Delta& x, const Delta& y) {
  SMIDGEN_ASSERT(rows(x) == rows(y) && columns(x) == columns(y));
  const auto *tx = std::get_if<TernaryDelta>(&x), *ty = std::get_if<TernaryDelta>(&y);
  if (tx && ty) return ternary_dots(*tx, *ty);
  const auto *lx = std::get_if<LowRankDelta>(&x), *ly = std::get_if<LowRankDelta>(&y);
  if (lx && ly) return low_rank_dot(*lx, *ly);
  if (ty) return dot(y, x);
  const int64_t step = std::max<int64_t>(1, (1 << 20) / std::max<int64_t>(1, columns(x)));
  double sum = 0;
  for (int64_t row = 0; row < rows(x); row += step) {
    const int64_t end = std::min(rows(x), row + step);
    const at::Tensor dense = tile(y, row, end);
    sum += tx ? tx->scale * ternary_sums(*tx, row, dense)
              : tile(x, row, end).to(at::kDouble).mul(dense).sum().item<double>();
  }
  return sum;
}

at::Tensor times_transposed(const at::Tensor& x, const TernaryDelta& t) {
  const int64_t n = x.size(0), in = t.columns, out = t.positive.size(0);
  SMIDGEN_ASSERT(x.size(1) == in && x.scalar_type() == at::kFloat);
  const at::Tensor rows = x.contiguous();
  at::Tensor y = at::empty({n, out}, at::kFloat);
  if (n > kMaskedRows) {
    parallel_for(out, kTileRows, [&](int64_t begin, int64_t end) {
      const torch::NoGradGuard no_grad;
      for (int64_t row = begin; row < end; row += kTileRows) {
        const int64_t last = std::min(end, row + kTileRows);
        y.narrow(1, row, last - row).copy_(at::linear(rows, tile(t, row, last)));
      }
    });
    return y;
  }
  const float* const from = rows.const_data_ptr<float>();
  float* const to = y.mutable_data_ptr<float>();
  const auto scale = static_cast<float>(t.scale);
  parallel_for(out, row_grain(in * n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const uint64_t *const positive = words(t.positive, r), *const negative = words(t.negative, r);
      int64_t i = 0;
      for (; i + 4 <= n; i += 4) {
        float sums[4];
        ternary_sum4(in, positive, negative, from + i * in, in, sums);
        for (int64_t k = 0; k < 4; ++k) to[(i + k) * out + r] = scale * sums[k];
      }
      for (; i < n; ++i)
        to[i * out + r] = scale * ternary_sum(in, positive, negative, from + i * in);
    }
  });
  return y;
}

at::Tensor times(const at::Tensor& y, const TernaryDelta& t) {
  const int64_t n = y.size(0), in = t.columns, out = t.positive.size(0);
  SMIDGEN_ASSERT(y.size(1) == out && y.scalar_type() == at::kFloat);
  at::Tensor x = at::zeros({n, in}, at::kFloat);
  for (int64_t row = 0; row < out; row += 4 * kTileRows) {
    const int64_t end = std::min(out, row + 4 * kTileRows);
    x.addmm_(y.narrow(1, row, end - row), tile(t, row, end));
  }
  return x;
}

at::Tensor gather_rows(const TernaryDelta& t, const at::Tensor& index) {
  SMIDGEN_ASSERT(index.scalar_type() == at::kLong && index.dim() == 1);
  const at::Tensor ids = index.contiguous();
  const int64_t* const from = ids.const_data_ptr<int64_t>();
  at::Tensor out = at::zeros({ids.size(0), t.columns}, at::kFloat);
  float* const to = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < ids.size(0); ++i) {
    SMIDGEN_ASSERT(from[i] >= 0 && from[i] < t.positive.size(0));
    ternary_add(t.columns, words(t.positive, from[i]), words(t.negative, from[i]),
                static_cast<float>(t.scale), to + i * t.columns);
  }
  return out;
}

Delta combine(const std::vector<Delta>& deltas, const std::vector<double>& weights) {
  SMIDGEN_ASSERT(!deltas.empty() && deltas.size() == weights.size());
  // One delta of weight 1 is itself, to the bit.
  if (deltas.size() == 1 && weights[0] == 1) return deltas[0];
  if (const auto* ternary = std::get_if<TernaryDelta>(&deltas[0]); ternary && deltas.size() == 1) {
    TernaryDelta scaled = *ternary;
    scaled.scale *= weights[0];
    return scaled;
  }
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
