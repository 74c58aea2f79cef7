// n targets, m rows of a block, d width, k neighbours.
#include "smidgen/delta/nearest_rows.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

constexpr size_t kBlock = 4096;
constexpr double kLeast = 1e-6;
constexpr double kNothing = 1e-5;  // of a length: what rounding leaves

at::Tensor gathered(const Source& source, const SourceTensor& tensor,
                    std::span<const int32_t> rows) {
  const int64_t width = tensor.columns(), count = static_cast<int64_t>(rows.size());
  at::Tensor out = at::empty({count, width}, at::kFloat);
  float* const to = out.mutable_data_ptr<float>();
  parallel_for(count, 256, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
      const int32_t first = rows[static_cast<size_t>(at)];
      int64_t next = at + 1;
      while (next < end && rows[static_cast<size_t>(next)] == first + (next - at)) ++next;
      source.read(tensor, first * width,
                  {to + at * width, static_cast<size_t>((next - at) * width)});
      at = next;
    }
  });
  return out;
}

// Smaller is nearer: the distance, or the cosine's negative.
double distance(const float* a, const float* b, int64_t d, bool cosine) {
  double squares = 0, dot = 0, aa = 0, bb = 0;
  for (int64_t k = 0; k < d; ++k) {
    const double x = a[k], y = b[k];
    squares += (x - y) * (x - y);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return cosine ? -dot / std::max(kLeast, std::sqrt(aa) * std::sqrt(bb)) : std::sqrt(squares);
}

// Places in `among`, [n, k].
at::Tensor chosen(const Source& source, const SourceTensor& tensor, const at::Tensor& t,
                  std::span<const int32_t> among, int64_t k, bool cosine) {
  at::Tensor best, places;
  for (size_t first = 0; first < among.size(); first += kBlock) {
    const auto part = among.subspan(first, std::min(kBlock, among.size() - first));
    const at::Tensor p = gathered(source, tensor, part);  // [m, d]
    // Terms that are the same for all rows of a target are left out.
    const at::Tensor squares = (p * p).sum(1);
    const at::Tensor products = at::mm(t, p.t());
    const at::Tensor scores =
        cosine ? -products / squares.sqrt().clamp_min(1e-30) : squares - 2 * products;
    auto [near, found] = at::topk(scores, std::min<int64_t>(k, scores.size(1)), 1, false);
    found = found + static_cast<int64_t>(first);
    if (best.defined()) {
      near = at::cat({best, near}, 1);
      found = at::cat({places, found}, 1);
    }
    const auto [kept, order] = at::topk(near, std::min<int64_t>(k, near.size(1)), 1, false);
    best = kept;
    places = at::gather(found, 1, order);
  }
  return places.contiguous();
}

// The places in `among` with the largest absolute products with `left`, [n].
at::Tensor most_alike(const Source& source, const SourceTensor& tensor, const at::Tensor& left,
                      std::span<const int32_t> among) {
  at::Tensor best, places;
  for (size_t first = 0; first < among.size(); first += kBlock) {
    const auto part = among.subspan(first, std::min(kBlock, among.size() - first));
    auto [most, found] = at::mm(left, gathered(source, tensor, part).t()).abs_().max(1);
    found = found + static_cast<int64_t>(first);
    if (best.defined()) {
      const at::Tensor more = most > best;
      most = at::where(more, most, best);
      found = at::where(more, found, places);
    }
    best = most;
    places = found;
  }
  return places.contiguous();
}

}  // namespace

std::vector<std::vector<NearRow>> nearest_rows(const Source& source, const SourceTensor& tensor,
                                               std::span<const int32_t> targets,
                                               std::span<const int32_t> among, int64_t count,
                                               bool cosine) {
  const c10::InferenceMode no_grad;
  const int64_t n = static_cast<int64_t>(targets.size()), d = tensor.columns();
  const int64_t k = std::min(count, static_cast<int64_t>(among.size()));
  std::vector<std::vector<NearRow>> out(targets.size());
  if (n == 0 || k == 0) return out;
  const at::Tensor t = gathered(source, tensor, targets);
  // A short distance is the difference of two long squares, so products measure it badly: some more
  // rows are chosen by them than are needed.
  const int64_t most = std::min(k + k / 4 + 8, static_cast<int64_t>(among.size()));
  const at::Tensor places = chosen(source, tensor, t, among, most, cosine);
  const float* target = t.const_data_ptr<float>();
  const int64_t* place = places.const_data_ptr<int64_t>();
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(d));
    std::vector<std::pair<double, int64_t>> near;
    for (int64_t i = begin; i < end; ++i) {
      near.clear();
      for (int64_t j = 0; j < most; ++j) {
        const int64_t at = place[i * most + j];
        source.read(tensor, among[static_cast<size_t>(at)] * d, row);
        near.emplace_back(distance(target + i * d, row.data(), d, cosine), at);
      }
      std::sort(near.begin(), near.end());
      near.resize(static_cast<size_t>(k));
      double sum = 0;
      for (auto& [value, at] : near) {
        value = cosine ? -value : 1 / std::max(kLeast, value);
        sum += value;
      }
      for (const auto& [weight, at] : near)
        out[static_cast<size_t>(i)].push_back(
            {among[static_cast<size_t>(at)], static_cast<float>(weight / std::max(kLeast, sum))});
    }
  });
  return out;
}

// T = R Q for the rows T that were picked, Q orthonormal and R lower triangular, a row of both at a
// time; the sum of the picks that is nearest to a target t is c T with c R = t Q'.
std::vector<std::vector<NearRow>> pursued_rows(const Source& source, const SourceTensor& tensor,
                                               std::span<const int32_t> targets,
                                               std::span<const int32_t> among, int64_t count) {
  const c10::InferenceMode no_grad;
  const int64_t n = static_cast<int64_t>(targets.size()), d = tensor.columns();
  const int64_t k = std::min({count, static_cast<int64_t>(among.size()), d});
  std::vector<std::vector<NearRow>> out(targets.size());
  if (n == 0 || k == 0) return out;
  at::Tensor left = gathered(source, tensor, targets);
  const at::Tensor nothing = left.norm(2, 1) * kNothing;
  const at::Tensor q = at::zeros({n, k, d}, at::kFloat), y = at::zeros({n, k}, at::kFloat);
  const at::Tensor r = at::eye(k, at::kFloat).repeat({n, 1, 1});
  const at::Tensor picks = at::zeros({n, k}, at::kLong);
  at::Tensor live = at::ones({n}, at::kBool);
  for (int64_t t = 0; t < k; ++t) {
    const at::Tensor places = most_alike(source, tensor, left, among);
    std::vector<int32_t> rows;
    for (const int64_t place : std::span(places.const_data_ptr<int64_t>(), targets.size()))
      rows.push_back(among[static_cast<size_t>(place)]);
    at::Tensor row = gathered(source, tensor, rows);
    const at::Tensor length = row.norm(2, 1);
    // Twice, since once leaves what rounding makes of long rows.
    for (int pass = 0; pass < 2 && t > 0; ++pass) {
      const at::Tensor before = q.narrow(1, 0, t);
      const at::Tensor parts = at::bmm(before, row.unsqueeze(2));  // [n, t, 1]
      row = row - at::bmm(parts.transpose(1, 2), before).squeeze(1);
      r.select(1, t).narrow(1, 0, t).add_(parts.squeeze(2));
    }
    const at::Tensor rest = row.norm(2, 1);
    live = live & (left.norm(2, 1) > nothing) & (rest > length * kNothing);
    const at::Tensor unit = at::where(live.unsqueeze(1), row / rest.unsqueeze(1), at::zeros({1}));
    q.select(1, t).copy_(unit);
    r.select(1, t).select(1, t).copy_(at::where(live, rest, at::ones({1})));
    const at::Tensor part = (left * unit).sum(1);
    y.select(1, t).copy_(part);
    left = left - part.unsqueeze(1) * unit;
    picks.select(1, t).copy_(places);
    if (!live.any().item<bool>()) break;
  }
  const at::Tensor c = at::linalg_solve_triangular(r, y.unsqueeze(1), false, false).contiguous();
  const float* weight = c.const_data_ptr<float>();
  const int64_t* place = picks.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < n * k; ++i) {
    if (weight[i] != 0)
      out[static_cast<size_t>(i / k)].push_back({among[static_cast<size_t>(place[i])], weight[i]});
  }
  return out;
}

}  // namespace smidgen
