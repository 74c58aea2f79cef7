#include "smidgen/delta/subspace/delta_sums.h"

#include <algorithm>
#include <bit>
#include <mutex>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

constexpr int64_t kPiece = int64_t{1} << 16;  // elements: two pieces lie in a core's cache

SignCount signs_piece(const float* a, const float* b, int64_t count) {
  int32_t both = 0, agree = 0;  // a piece is far below 2^31
  for (int64_t i = 0; i < count; ++i) {
    const int32_t used = static_cast<int32_t>(a[i] != 0) & static_cast<int32_t>(b[i] != 0);
    both += used;
    agree += used & static_cast<int32_t>((a[i] > 0) == (b[i] > 0));
  }
  return {both, agree};
}

SignCount ternary_signs(const TernaryDelta& a, const TernaryDelta& b) {
  const auto words = [](const at::Tensor& bits) {
    return reinterpret_cast<const uint64_t*>(bits.const_data_ptr<int64_t>());
  };
  const uint64_t *p = words(a.positive), *n = words(a.negative);
  const uint64_t *q = words(b.positive), *m = words(b.negative);
  SignCount total;
  for (int64_t i = 0; i < a.positive.numel(); ++i) {
    total.both += std::popcount((p[i] | n[i]) & (q[i] | m[i]));
    total.agree += std::popcount((p[i] & q[i]) | (n[i] & m[i]));
  }
  // A negative scale turns every sign.
  if (a.scale * b.scale < 0) total.agree = total.both - total.agree;
  return total;
}

// Both deltas as fp32 rows, piece by piece, on all threads.
template <class Visit>
void for_pieces(const Delta& a, const Delta& b, Visit&& visit) {
  const int64_t lines = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, columns(a)));
  const int64_t pieces = (rows(a) + lines - 1) / lines;
  parallel_claims(pieces, 1, 4, [&](int64_t first, int64_t last) {
    const torch::NoGradGuard no_grad;
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t end = std::min(rows(a), (piece + 1) * lines);
      const at::Tensor x = tile(a, piece * lines, end).contiguous();
      const at::Tensor y = tile(b, piece * lines, end).contiguous();
      visit(x.const_data_ptr<float>(), y.const_data_ptr<float>(), x.numel());
    }
  });
}

}  // namespace

SignCount compare_signs(const Delta& a, const Delta& b) {
  SMIDGEN_ASSERT(rows(a) == rows(b) && columns(a) == columns(b));
  const auto *x = std::get_if<TernaryDelta>(&a), *y = std::get_if<TernaryDelta>(&b);
  // Scales of zero leave no signs; that is for the slow way to see.
  if (x && y && x->scale * y->scale != 0) return ternary_signs(*x, *y);
  std::mutex together;
  SignCount total;
  for_pieces(a, b, [&](const float* p, const float* q, int64_t count) {
    const SignCount part = signs_piece(p, q, count);
    const std::lock_guard<std::mutex> lock(together);
    total.both += part.both;
    total.agree += part.agree;
  });
  return total;
}

Delta stack(const std::vector<StackPart>& parts, int64_t columns) {
  const torch::NoGradGuard no_grad;
  bool low = true, one_scale = true;
  double scale = 0;
  int64_t height = 0, rank = 0;
  for (const StackPart& part : parts) {
    height += part.rows;
    if (!part.delta) continue;
    const auto* factors = std::get_if<LowRankDelta>(part.delta);
    low = low && factors;
    if (!factors) continue;
    one_scale = one_scale && (rank == 0 || factors->scale == scale);
    scale = factors->scale;
    rank += factors->a.size(0);
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
  // A scale that all have in common is not rounded into the factors.
  LowRankDelta out{at::zeros({rank, columns}, at::kFloat), at::zeros({height, rank}, at::kFloat),
                   one_scale ? scale : 1};
  int64_t row = 0, from = 0;
  for (const StackPart& part : parts) {
    if (part.delta) {
      const auto& factors = std::get<LowRankDelta>(*part.delta);
      const int64_t r = factors.a.size(0);
      out.a.narrow(0, from, r).copy_(factors.a);
      at::Tensor b = out.b.narrow(0, row, part.rows).narrow(1, from, r);
      b.copy_(one_scale ? factors.b : factors.b * factors.scale);
      from += r;
    }
    row += part.rows;
  }
  return out;
}

}  // namespace smidgen
