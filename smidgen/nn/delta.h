// The difference from a base that a trained site stands for. A closed set of forms; the rooms that
// merge, compress and compare take any of them without making them dense.
#pragma once

#include <variant>

#include <ATen/core/Tensor.h>

namespace smidgen {

struct DenseDelta {
  at::Tensor values;  // fp32 [out, in]
};

// scale * B A
struct LowRankDelta {
  at::Tensor a;  // fp32 [rank, in]
  at::Tensor b;  // fp32 [out, rank]
  double scale = 1;
};

// Some rows only; the others do not differ.
struct RowsDelta {
  at::Tensor index;   // int64 [k], each row once
  at::Tensor values;  // fp32 [k, in]
  int64_t rows = 0;   // of the whole matrix
};

// scale times -1, 0 or +1: two bitsets, in which each row begins with a word of its own (see
// kernels/ternary.h).
struct TernaryDelta {
  at::Tensor positive, negative;  // int64 [out, (in + 63) / 64], no bit in both
  int64_t columns = 0;            // in
  double scale = 1;
};

using Delta = std::variant<DenseDelta, LowRankDelta, RowsDelta, TernaryDelta>;

// Rows and columns of the whole matrix.
int64_t rows(const Delta& delta);
int64_t columns(const Delta& delta);

// Rows [row0, row1) of the delta as a dense fp32 tensor.
at::Tensor tile(const Delta& delta, int64_t row0, int64_t row1);

// tile += rows [row0, row0 + tile.size(0)) of the delta.
void add_to(const Delta& delta, int64_t row0, at::Tensor& tile);

// Frobenius norm, in double.
double norm(const Delta& delta);

// sum_ij x_ij y_ij, in double, for equal shapes. Two ternary deltas: by counting bits, exact up to
// the scales. Two low-rank ones: through their factors. Otherwise in tiles of rows.
double dot(const Delta& x, const Delta& y);

// Products with a ternary delta T, whose matrix is never unfolded as a whole; all fp32.
at::Tensor times_transposed(const at::Tensor& x, const TernaryDelta& t);  // x T^T, x [n, in]
at::Tensor times(const at::Tensor& y, const TernaryDelta& t);             // y T, y [n, out]
// Rows of T by number, [n, in] for int64 [n].
at::Tensor gather_rows(const TernaryDelta& t, const at::Tensor& index);

// sum of weight_i * delta_i. Low-rank deltas join exactly: their ranks add up, factors side by
// side. One ternary delta stays one; a sum of several is dense.
Delta combine(const std::vector<Delta>& deltas, const std::vector<double>& weights);

}  // namespace smidgen
