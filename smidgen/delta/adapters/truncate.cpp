#include "smidgen/delta/adapters/truncate.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"

namespace smidgen {

namespace {

// Singular values below this share of the largest are rounding of fp32 factors.
constexpr double kNoise = 1e-9;
// And below this share of both factors' norms, of fp64 sums.
constexpr double kRounding = 1e-13;
// Columns that the subspace iteration carries beside those that are asked for.
constexpr int64_t kSpare = 32;
// Shorter sides than this are solved whole: that takes no time.
constexpr int64_t kSubspaceFrom = 512;

// G = M M^T in fp64, M [k, n] with k <= n, in pieces of columns: an fp64 copy of M is never whole.
at::Tensor gram(const at::Tensor& m) {
  constexpr int64_t kPiece = 1 << 12;
  at::Tensor sum = at::zeros({m.size(0), m.size(0)}, at::kDouble);
  for (int64_t from = 0; from < m.size(1); from += kPiece) {
    const at::Tensor piece = m.narrow(1, from, std::min(kPiece, m.size(1) - from)).to(at::kDouble);
    sum.addmm_(piece, piece.t());
  }
  return sum;
}

// L^T M in fp64, L [k, r].
at::Tensor project(const at::Tensor& l, const at::Tensor& m) {
  constexpr int64_t kPiece = 1 << 12;
  at::Tensor out = at::empty({l.size(1), m.size(1)}, at::kDouble);
  for (int64_t from = 0; from < m.size(1); from += kPiece) {
    const int64_t n = std::min(kPiece, m.size(1) - from);
    at::Tensor to = out.narrow(1, from, n);
    at::matmul_out(to, l.t(), m.narrow(1, from, n).to(at::kDouble));
  }
  return out;
}

double squares(const at::Tensor& m) {
  double sum = 0;
  for (int64_t row = 0; row < m.size(0); ++row)
    sum += m[row].to(at::kDouble).square().sum().item<double>();
  return sum;
}

// |M - U diag(s) V|^2 in fp64, by pieces of columns.
double missed(const at::Tensor& m, const at::Tensor& u, const at::Tensor& right) {
  constexpr int64_t kPiece = 1 << 12;
  const at::Tensor left = u.to(at::kFloat);
  double sum = 0;
  for (int64_t from = 0; from < m.size(1); from += kPiece) {
    const int64_t n = std::min(kPiece, m.size(1) - from);
    const at::Tensor approximate = at::matmul(left, right.narrow(1, from, n).to(at::kFloat));
    sum += squares(m.narrow(1, from, n) - approximate);
  }
  return sum;
}

// An orthonormal basis of the columns, fp32 of fp64 work.
at::Tensor basis(const at::Tensor& columns) {
  return std::get<0>(at::linalg_qr(columns.to(at::kDouble))).to(at::kFloat);
}

// The first vectors of M's left space, by subspace iteration: Q <- orth(M M^T Q), with kSpare more
// columns than asked for. Undefined where it does not settle.
at::Tensor leading(const at::Tensor& m, int64_t rank, double norm2) {
  constexpr int kRounds = 40;
  constexpr double kSettled = 1e-6;
  at::Tensor start = at::empty({m.size(1), rank + kSpare}, at::kFloat);
  const Rng rng(0, "subspace");
  float* values = start.mutable_data_ptr<float>();
  for (int64_t i = 0; i < start.numel(); ++i)
    values[i] = static_cast<float>(rng.normal(static_cast<uint64_t>(i)));
  at::Tensor q = basis(at::matmul(m, start));
  double before = -1;
  for (int round = 0; round < kRounds; ++round) {
    const at::Tensor y = at::matmul(m.t(), q);  // [n, l]
    const at::Tensor small = y.to(at::kDouble);
    const auto [values2, turn] = at::linalg_eigh(at::matmul(small.t(), small));
    const int64_t l = values2.size(0);
    const double held = values2.narrow(0, l - rank, rank).sum().item<double>();
    // What is missed settles much later than what is held: it is what must not move any more.
    const double rest = std::max(norm2 - held, 0.0);
    if (before >= 0 && held - before <= kSettled * rest + 1e-13 * norm2)
      return at::matmul(q.to(at::kDouble), turn.narrow(1, l - rank, rank).flip(1));
    before = held;
    q = basis(at::matmul(m, y));
  }
  return {};
}

}  // namespace

Decomposition Decomposition::first(int64_t rank) const {
  if (rank >= s.size(0)) return *this;
  const double dropped = s.narrow(0, rank, s.size(0) - rank).square().sum().item<double>();
  return {.u = u.narrow(1, 0, rank),
          .s = s.narrow(0, 0, rank),
          .v = v.narrow(0, 0, rank),
          .norm2 = norm2,
          .left2 = left2 + dropped};
}

Decomposition decompose(const LowRankDelta& product, int64_t rank) {
  const auto [qa, ra] = at::linalg_qr(product.a.to(at::kDouble).t());
  const auto [qb, rb] = at::linalg_qr(product.b.to(at::kDouble));
  const auto [u, s, v] = at::linalg_svd(at::matmul(rb, ra.t()) * product.scale, false);
  // What is left where terms cancel is rounding, however large a share of the rest it is.
  const double rounding =
      kRounding * std::abs(product.scale) * (ra.norm() * rb.norm()).item<double>();
  const double largest = s.numel() ? s[0].item<double>() : 0;
  const int64_t real = s.gt(std::max(largest * kNoise, rounding)).sum().item<int64_t>();
  Decomposition all{.u = at::matmul(qb, u.narrow(1, 0, real)),
                    .s = s.narrow(0, 0, real),
                    .v = at::matmul(v.narrow(0, 0, real), qa.t()),
                    .norm2 = s.square().sum().item<double>()};
  all.left2 = s.narrow(0, real, s.size(0) - real).square().sum().item<double>();
  return all.first(rank);
}

Decomposition decompose(const at::Tensor& matrix, int64_t rank) {
  SMIDGEN_ASSERT(matrix.dim() == 2 && matrix.scalar_type() == at::kFloat);
  const bool tall = matrix.size(0) > matrix.size(1);
  const at::Tensor wide = tall ? matrix.t() : matrix;  // [k, n], k <= n
  const int64_t k = wide.size(0), kept = std::min(rank, k);
  Decomposition parts;
  at::Tensor left;
  if (kSubspaceFrom <= k && 4 * (kept + kSpare) <= k) {
    parts.norm2 = squares(matrix);
    left = leading(wide, kept, parts.norm2);
  }
  const bool settled = left.defined();
  if (!settled) {
    const auto [eigenvalues, vectors] = at::linalg_eigh(gram(wide));
    parts.norm2 = eigenvalues.clamp_min(0).sum().item<double>();
    parts.left2 = eigenvalues.narrow(0, 0, k - kept).clamp_min(0).sum().item<double>();
    left = vectors.narrow(1, k - kept, kept).flip(1);
  }
  at::Tensor right = project(left, wide);  // diag(s) V
  if (settled) parts.left2 = missed(wide, left, right);
  at::Tensor s = right.square().sum(1).sqrt();
  // Of nearly equal values the eigenvectors' order need not be that of the norms.
  const at::Tensor order = at::argsort(s, /*dim=*/0, /*descending=*/true);
  s = s.index_select(0, order);
  const int64_t real = s.gt(0).sum().item<int64_t>();
  s = s.narrow(0, 0, real);
  const at::Tensor chosen = order.narrow(0, 0, real);
  const at::Tensor u = left.index_select(1, chosen);
  const at::Tensor v = right.index_select(0, chosen).div_(s.unsqueeze(1));
  parts.s = s;
  parts.u = tall ? v.t() : u;
  parts.v = tall ? u.t() : v;
  return parts;
}

LowRankDelta factors(const Decomposition& parts, ScaleOn on) {
  const at::Tensor part = on == ScaleOn::both ? parts.s.sqrt() : parts.s;
  const at::Tensor b = on == ScaleOn::a ? parts.u : parts.u * part;
  const at::Tensor a = on == ScaleOn::b ? parts.v : parts.v * part.unsqueeze(1);
  return {a.to(at::kFloat).contiguous(), b.to(at::kFloat).contiguous(), 1};
}

}  // namespace smidgen
