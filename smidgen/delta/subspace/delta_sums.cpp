#include "smidgen/delta/subspace/delta_sums.h"

#include <algorithm>
#include <array>
#include <mutex>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

constexpr int64_t kPiece = int64_t{1} << 16;  // elements: two pieces lie in a core's cache
constexpr size_t kLanes = 16;                 // sums side by side, so that they vectorise

int64_t columns_of(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta)) return low->a.size(1);
  if (const auto* some = std::get_if<RowsDelta>(&delta)) return some->values.size(1);
  return std::get<DenseDelta>(delta).values.size(1);
}

double dot_piece(const float* a, const float* b, int64_t count) {
  std::array<double, kLanes> sums{};
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane)
      sums[lane] += static_cast<double>(a[i + static_cast<int64_t>(lane)]) *
                    static_cast<double>(b[i + static_cast<int64_t>(lane)]);
  }
  double total = 0;
  for (; i < count; ++i) total += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (const double sum : sums) total += sum;
  return total;
}

SignCount signs_piece(const float* a, const float* b, int64_t count) {
  int32_t both = 0, agree = 0;  // a piece is far below 2^31
  for (int64_t i = 0; i < count; ++i) {
    const int32_t used = static_cast<int32_t>(a[i] != 0) & static_cast<int32_t>(b[i] != 0);
    both += used;
    agree += used & static_cast<int32_t>((a[i] > 0) == (b[i] > 0));
  }
  return {both, agree};
}

// Both deltas as fp32 rows, piece by piece, on all threads. Pieces are numbered.
template <class Visit>
void for_pieces(const Delta& a, const Delta& b, Visit&& visit) {
  SMIDGEN_ASSERT(rows(a) == rows(b) && columns_of(a) == columns_of(b));
  const int64_t lines = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, columns_of(a)));
  const int64_t pieces = (rows(a) + lines - 1) / lines;
  parallel_claims(pieces, 1, 4, [&](int64_t first, int64_t last) {
    const torch::NoGradGuard no_grad;
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t end = std::min(rows(a), (piece + 1) * lines);
      const at::Tensor x = tile(a, piece * lines, end).contiguous();
      const at::Tensor y = tile(b, piece * lines, end).contiguous();
      visit(piece, x.const_data_ptr<float>(), y.const_data_ptr<float>(), x.numel());
    }
  });
}

int64_t piece_count(const Delta& a) {
  const int64_t lines = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, columns_of(a)));
  return (rows(a) + lines - 1) / lines;
}

}  // namespace

double dot(const Delta& a, const Delta& b) {
  const torch::NoGradGuard no_grad;
  const auto* x = std::get_if<LowRankDelta>(&a);
  const auto* y = std::get_if<LowRankDelta>(&b);
  if (x && y) {
    const at::Tensor left = at::mm(x->b.to(at::kDouble).t(), y->b.to(at::kDouble));
    const at::Tensor right = at::mm(x->a.to(at::kDouble), y->a.to(at::kDouble).t());
    return x->scale * y->scale * left.mul(right).sum().item<double>();
  }
  std::vector<double> sums(static_cast<size_t>(piece_count(a)));
  for_pieces(a, b, [&](int64_t piece, const float* p, const float* q, int64_t count) {
    sums[static_cast<size_t>(piece)] = dot_piece(p, q, count);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

SignCount compare_signs(const Delta& a, const Delta& b) {
  std::mutex together;
  SignCount total;
  for_pieces(a, b, [&](int64_t, const float* p, const float* q, int64_t count) {
    const SignCount part = signs_piece(p, q, count);
    const std::lock_guard<std::mutex> lock(together);
    total.both += part.both;
    total.agree += part.agree;
  });
  return total;
}

Delta stack(const std::vector<StackPart>& parts, int64_t columns) {
  const torch::NoGradGuard no_grad;
  bool low = true;
  int64_t height = 0, rank = 0;
  for (const StackPart& part : parts) {
    height += part.rows;
    if (!part.delta) continue;
    const auto* factors = std::get_if<LowRankDelta>(part.delta);
    low = low && factors;
    if (factors) rank += factors->a.size(0);
  }
  if (!low) {
    at::Tensor out = at::zeros({height, columns}, at::kFloat);
    int64_t row = 0;
    for (const StackPart& part : parts) {
      if (part.delta) out.narrow(0, row, part.rows).copy_(tile(*part.delta, 0, part.rows));
      row += part.rows;
    }
    return DenseDelta{out};
  }
  LowRankDelta out{at::zeros({rank, columns}, at::kFloat), at::zeros({height, rank}, at::kFloat),
                   1};
  int64_t row = 0, from = 0;
  for (const StackPart& part : parts) {
    if (part.delta) {
      const auto& factors = std::get<LowRankDelta>(*part.delta);
      const int64_t r = factors.a.size(0);
      out.a.narrow(0, from, r).copy_(factors.a);
      out.b.narrow(0, row, part.rows).narrow(1, from, r).copy_(factors.b * factors.scale);
      from += r;
    }
    row += part.rows;
  }
  return out;
}

}  // namespace smidgen
