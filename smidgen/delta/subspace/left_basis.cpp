#include "smidgen/delta/subspace/left_basis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

constexpr int64_t kPiece = 1024;  // rows or columns that are turned into fp64 at a time
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

void check_finite(double energy) {
  if (!std::isfinite(energy))
    throw Error(ErrorKind::data, "the difference holds NaN or infinity", "",
                "look at both models with smidgen diff");
}

// D D^T, or D^T D.
at::Tensor gram(const at::Tensor& d, bool left) {
  const int64_t side = d.size(left ? 0 : 1), other = d.size(left ? 1 : 0);
  at::Tensor sum = at::zeros({side, side}, at::kDouble);
  for (int64_t at = 0; at < other; at += kPiece) {
    const at::Tensor piece =
        d.narrow(left ? 1 : 0, at, std::min(kPiece, other - at)).to(at::kDouble);
    left ? sum.addmm_(piece, piece.t()) : sum.addmm_(piece.t(), piece);
  }
  return sum;
}

// D R S^-1, in pieces of rows so that D is never whole in fp64.
at::Tensor through(const at::Tensor& d, const at::Tensor& right) {
  at::Tensor out = at::empty({d.size(0), right.size(1)}, at::kDouble);
  for (int64_t at = 0; at < d.size(0); at += kPiece) {
    const int64_t count = std::min(kPiece, d.size(0) - at);
    at::Tensor rows = out.narrow(0, at, count);
    at::mm_out(rows, d.narrow(0, at, count).to(at::kDouble), right);
  }
  return out;
}

// Columns that are orthonormal but for rounding, made so: Q L^-T with Q^T Q = L L^T. The first k
// columns keep their span for every k.
at::Tensor orthonormal(const at::Tensor& q) {
  const at::Tensor factor = at::linalg_cholesky(at::mm(q.t(), q));
  return at::linalg_solve_triangular(factor.t(), q, /*upper=*/true, /*left=*/false);
}

LeftBasis dense(const at::Tensor& d) {
  LeftBasis basis;
  const int64_t m = d.size(0), n = d.size(1);
  const bool left = m <= n;
  const at::Tensor g = gram(d, left);
  basis.energy = g.diagonal().sum().item<double>();
  check_finite(basis.energy);
  basis.vectors = at::empty({m, 0}, at::kDouble);
  if (basis.energy == 0) return basis;
  auto [values, vectors] = at::linalg_eigh(g);
  values = values.flip(0);
  // Squares below this are what rounding of the Gram matrix makes of zero.
  const double floor = values[0].item<double>() * static_cast<double>(std::max(m, n)) * kEpsilon;
  const double* value = values.const_data_ptr<double>();
  while (basis.rank() < values.size(0) && value[basis.rank()] > floor)
    basis.squares.push_back(value[basis.rank()]);
  const at::Tensor kept = vectors.flip(1).narrow(1, 0, basis.rank());
  if (left) {
    basis.vectors = kept.contiguous();
  } else {
    const at::Tensor scale = values.narrow(0, 0, basis.rank()).rsqrt();
    basis.vectors = orthonormal(through(d, kept * scale));
  }
  return basis;
}

LeftBasis low_rank(const LowRankDelta& delta) {
  LeftBasis basis;
  const at::Tensor b = delta.b.to(at::kDouble), a = delta.a.to(at::kDouble);
  basis.vectors = at::empty({b.size(0), 0}, at::kDouble);
  check_finite(delta.scale * (b.sum().item<double>() + a.sum().item<double>()));
  const auto [qb, rb] = at::linalg_qr(b, "reduced");
  const auto [qa, ra] = at::linalg_qr(a.t(), "reduced");
  const auto [u, s, vh] = at::linalg_svd(at::mm(rb, ra.t()) * delta.scale, false);
  const double* value = s.const_data_ptr<double>();
  const double floor =
      s.numel() ? value[0] * static_cast<double>(std::max(b.size(0), a.size(1))) * kEpsilon : 0;
  for (int64_t i = 0; i < s.numel(); ++i) {
    basis.energy += value[i] * value[i];
    if (value[i] > floor) basis.squares.push_back(value[i] * value[i]);
  }
  basis.vectors = at::mm(qb, u.narrow(1, 0, basis.rank()));
  return basis;
}

}  // namespace

LeftBasis left_basis(const at::Tensor& matrix) {
  const torch::NoGradGuard no_grad;
  SMIDGEN_ASSERT(matrix.dim() >= 1);
  return dense(matrix.dim() == 2 ? matrix : matrix.reshape({matrix.size(0), -1}));
}

LeftBasis left_basis(const Delta& delta) {
  const torch::NoGradGuard no_grad;
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) return low_rank(*low);
  const auto* some = std::get_if<RowsDelta>(&delta);
  if (!some) return left_basis(tile(delta, 0, rows(delta)));
  LeftBasis basis = left_basis(some->values);
  at::Tensor whole = at::zeros({some->rows, basis.rank()}, at::kDouble);
  basis.vectors = whole.index_copy_(0, some->index, basis.vectors);
  return basis;
}

int64_t energy_rank(const LeftBasis& basis, double eta) {
  constexpr double kSlack = 1e-12;
  const double wanted = eta * basis.energy * (1 - kSlack);
  double sum = 0;
  int64_t k = 0;
  while (k < basis.rank() && (k == 0 || sum < wanted))
    sum += basis.squares[static_cast<size_t>(k++)];
  return k;
}

int64_t fraction_rank(int64_t rows, int64_t columns, double fraction) {
  return std::max<int64_t>(1, std::llrint(fraction * static_cast<double>(std::min(rows, columns))));
}

}  // namespace smidgen
