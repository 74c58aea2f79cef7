#include "smidgen/delta/diff/tensor_difference.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/delta/merge/tensor_engine.h"

namespace smidgen {

namespace {

void add(ValueDifference& sum, const float* a, const float* b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double x = a[i], y = b[i];
    if (std::isfinite(x)) sum.largest = std::max(sum.largest, std::abs(x));
    if (x == y) continue;
    const bool both_nan = std::isnan(x) && std::isnan(y);
    if (both_nan) continue;
    ++sum.differing;
    const double d = std::abs(x - y);
    if (!std::isfinite(d)) {
      ++sum.not_finite;
      continue;
    }
    sum.max_abs = std::max(sum.max_abs, d);
    sum.squares += d * d;
  }
}

void add(ValueDifference& sum, const ValueDifference& part) {
  sum.differing += part.differing;
  sum.not_finite += part.not_finite;
  sum.max_abs = std::max(sum.max_abs, part.max_abs);
  sum.largest = std::max(sum.largest, part.largest);
  sum.squares += part.squares;
}

// Calls visit(tile, a, b, count) for chunks of both, on all threads.
template <class Visit>
void for_chunks(const Source& first, const SourceTensor& a, const Source& second,
                const SourceTensor& b, Visit&& visit) {
  const Cut cut = Cut::of(a.elements(), a.columns());
  parallel_claims(cut.tiles(), 1, 1, [&](int64_t from, int64_t to) {
    std::vector<float> x(static_cast<size_t>(std::min(cut.chunk, cut.elements))), y(x.size());
    for (int64_t tile = from; tile < to; ++tile) {
      const int64_t start = tile * cut.tile, end = std::min(cut.elements, start + cut.tile);
      for (int64_t begin = start; begin < end; begin += cut.chunk) {
        const auto count = static_cast<size_t>(std::min(cut.chunk, end - begin));
        first.read(a, begin, std::span(x).first(count));
        second.read(b, begin, std::span(y).first(count));
        visit(tile, x.data(), y.data(), static_cast<int64_t>(count));
      }
    }
  });
}

// Bytes of equal formats and shapes. Piece by piece, so that pages are let go on the way.
bool equal_bytes(const Source& first, const SourceTensor& a, const Source& second,
                 const SourceTensor& b, const TensorView& x, const TensorView& y) {
  constexpr int64_t kPiece = int64_t{1} << 21;  // elements: whole blocks of every format
  const FormatInfo& format = info(a.stored);
  if (x.bytes.size() != y.bytes.size()) return false;
  for (int64_t begin = 0; begin < a.elements(); begin += kPiece) {
    const int64_t count = std::min(kPiece, a.elements() - begin);
    const auto at = static_cast<size_t>(begin / format.elements * format.bytes);
    const auto bytes =
        std::min(static_cast<size_t>(count / format.elements * format.bytes), x.bytes.size() - at);
    if (std::memcmp(x.bytes.data() + at, y.bytes.data() + at, bytes) != 0) return false;
    first.release(a);
    second.release(b);
  }
  return true;
}

bool equal_computed(const Source& first, const SourceTensor& a, const Source& second,
                    const SourceTensor& b) {
  std::atomic<bool> equal = true;
  for_chunks(first, a, second, b, [&](int64_t, const float* x, const float* y, int64_t count) {
    if (std::memcmp(x, y, static_cast<size_t>(count) * sizeof(float)) != 0) equal = false;
  });
  return equal;
}

TensorDifference compare_pair(const Source& first, const SourceTensor& a, const Source& second,
                              const SourceTensor& b) {
  TensorDifference out{.name = a.name, .first = a, .second = b};
  if (a.shape != b.shape) return out;
  const bool numbers = info(a.stored).readable && info(b.stored).readable;
  const auto x = first.stored(a), y = second.stored(b);
  if (a.stored == b.stored) {
    if (x && y) {
      out.same_bits = equal_bytes(first, a, second, b, *x, *y);
    } else if (numbers) {
      out.same_bits = equal_computed(first, a, second, b);
    }
  }
  if (!out.same_bits && numbers) out.values = value_difference(first, a, second, b);
  return out;
}

Json side(const std::optional<SourceTensor>& tensor) {
  if (!tensor) return nullptr;
  return {{"format", std::string(to_string(tensor->stored))}, {"shape", tensor->shape}};
}

}  // namespace

double ValueDifference::relative() const {
  return max_abs == 0 ? 0 : max_abs / std::max(largest, 1e-300);
}

double ValueDifference::rms() const {
  return std::sqrt(squares / static_cast<double>(std::max<int64_t>(1, elements)));
}

Json TensorDifference::to_json() const {
  Json out = {{"name", name}, {"a", side(first)}, {"b", side(second)}, {"same_bits", same_bits}};
  if (values) {
    out["elements"] = values->elements;
    out["differing"] = values->differing;
    out["not_finite"] = values->not_finite;
    out["max_abs"] = values->max_abs;
    out["relative"] = values->relative();
    out["rms"] = values->rms();
  }
  return out;
}

ValueDifference value_difference(const Source& first, const SourceTensor& a, const Source& second,
                                 const SourceTensor& b) {
  SMIDGEN_ASSERT(a.shape == b.shape);
  ValueDifference total{.elements = a.elements()};
  if (total.elements == 0) return total;
  const Cut cut = Cut::of(a.elements(), a.columns());
  std::vector<ValueDifference> tiles(static_cast<size_t>(cut.tiles()));
  for_chunks(first, a, second, b, [&](int64_t tile, const float* x, const float* y, int64_t count) {
    add(tiles[static_cast<size_t>(tile)], x, y, count);
  });
  for (const ValueDifference& tile : tiles) add(total, tile);
  return total;
}

std::vector<TensorDifference> tensor_differences(
    const Source& first, const Source& second,
    const std::function<void(int64_t done, int64_t total)>& progress) {
  std::unordered_map<std::string, const SourceTensor*> there;
  for (const SourceTensor& tensor : second.tensors()) there.emplace(tensor.name, &tensor);
  std::vector<TensorDifference> out;
  const auto total = static_cast<int64_t>(first.tensors().size());
  for (const SourceTensor& tensor : first.tensors()) {
    const auto found = there.find(tensor.name);
    if (found == there.end()) {
      out.push_back({.name = tensor.name, .first = tensor});
    } else {
      out.push_back(compare_pair(first, tensor, second, *found->second));
      there.erase(found);
    }
    if (progress) progress(static_cast<int64_t>(out.size()), total);
  }
  for (const SourceTensor& tensor : second.tensors()) {
    if (there.contains(tensor.name))
      out.push_back({.name = tensor.name, .first = std::nullopt, .second = tensor});
  }
  return out;
}

}  // namespace smidgen
