// n targets, m rows of a block, d width, k neighbours.
#include "smidgen/delta/nearest_rows.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/topk.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

constexpr size_t kBlock = 4096;
constexpr double kLeast = 1e-6;

at::Tensor gathered(const Source& source, const SourceTensor& tensor,
                    std::span<const int32_t> rows) {
  const int64_t width = tensor.columns();
  at::Tensor out = at::empty({static_cast<int64_t>(rows.size()), width}, at::kFloat);
  float* to = out.mutable_data_ptr<float>();
  for (size_t at = 0; at < rows.size();) {
    size_t next = at + 1;
    while (next < rows.size() && rows[next] == rows[at] + static_cast<int32_t>(next - at)) ++next;
    const size_t elements = (next - at) * static_cast<size_t>(width);
    source.read(tensor, rows[at] * width, {to, elements});
    to += elements;
    at = next;
  }
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
  const at::Tensor places = chosen(source, tensor, t, among, k, cosine);
  const float* target = t.const_data_ptr<float>();
  const int64_t* place = places.const_data_ptr<int64_t>();
  // A short distance is the difference of two long squares, so products measure it badly.
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(d));
    std::vector<std::pair<double, int64_t>> near;
    for (int64_t i = begin; i < end; ++i) {
      near.clear();
      for (int64_t j = 0; j < k; ++j) {
        const int64_t at = place[i * k + j];
        source.read(tensor, among[static_cast<size_t>(at)] * d, row);
        near.emplace_back(distance(target + i * d, row.data(), d, cosine), at);
      }
      std::sort(near.begin(), near.end());
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

}  // namespace smidgen
