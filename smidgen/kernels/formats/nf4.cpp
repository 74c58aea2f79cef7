// Normal float of four bits (QLoRA, arXiv:2305.14314) with double quantisation, in the layout and
// with the values of PyPI bitsandbytes 0.50.2.
//
// A tensor of n elements, flattened row by row, falls into blocks of 64 (the last may be short).
//   a_b   the largest magnitude of block b
//   c_i   the index of the value t[c] nearest to w_i / a_b, of two equally near the lower one
//   w'_i  = t[c_i] a'_b
// The a_b are kept in eight bits: with their mean m, in blocks of 256,
//   s     the largest |a_b - m|
//   q_b   the index of the value u[q] nearest to (a_b - m) / s
//   a'_b  = u[q_b] s + m
// t are 16 quantiles of the normal distribution, scaled to [-1, 1]; u is the signed dynamic map
// (arXiv:1511.04561): for e = 0..6 the midpoints of 2^e equal steps from 0.1 to 1, times 10^(e -
// 6), with both signs, and 0 and 1. Two codes lie in a byte, the first in its high half. Quotients
// are products with 1 / a_b, but in a last short block, and midpoints and values are fp32, as
// there.
//
// A tensor is what a module of the file holds: q, k and v are quantised each by itself. Differs
// from the reference: NaN and infinities are errors. Its library for CPUs rounds a_b - m through a
// table of 65536 steps and may miss the nearest q_b, which its other back ends, and this, do not.
#include <algorithm>
#include <array>
#include <cmath>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/mean.h>
#include <c10/core/GradMode.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/formats/nf4_block.h"
#include "smidgen/kernels/formats/packed_weight.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

constexpr int64_t kBlock = 64, kScales = 256;

constexpr std::array<float, 16> kValues = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

// The edges are those of torch.linspace(0.1, 1, 2^e + 1): from both ends towards the middle,
// product and sum rounded once, as its vector code has it.
std::array<float, 256> dynamic_map() {
  std::array<float, 256> map{};
  size_t next = 0;
  for (int e = 0; e < 7; ++e) {
    const int steps = 1 << e;
    const double first = 0.1f, last = 1;
    const double step = (1.0f - 0.1f) / static_cast<float>(steps);
    const auto edge = [&](int i) {
      return static_cast<float>(i < (steps + 1) / 2 ? first + step * i : last - step * (steps - i));
    };
    const auto power = static_cast<float>(std::pow(10.0, e - 6));
    for (int i = 0; i < steps; ++i) {
      const float middle = (edge(i) + edge(i + 1)) / 2.0f;
      map[next++] = power * middle;
      map[next++] = -power * middle;
    }
  }
  map[next++] = 0;
  map[next++] = 1;
  SMIDGEN_ASSERT(next == map.size());
  std::sort(map.begin(), map.end());
  return map;
}

// The nearest of sorted values, of two equally near the lower one.
template <size_t N>
class Nearest {
 public:
  explicit Nearest(const std::array<float, N>& values) {
    for (size_t i = 0; i + 1 < N; ++i) middles_[i] = (values[i] + values[i + 1]) / 2;
  }
  uint8_t operator()(float x) const {
    return static_cast<uint8_t>(std::lower_bound(middles_.begin(), middles_.end(), x) -
                                middles_.begin());
  }

 private:
  std::array<float, N - 1> middles_;
};

// What is near 1 / a for blocks of zeros, too.
constexpr float kLeast = 1e-38f;

float largest(const float* values, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(values[i]));
  return most;
}

// Calls store(i, quotient in [-1, 1]) for each value and returns what the quotients are of.
template <class Store>
float normalise(const float* values, int64_t n, int64_t block, Store&& store) {
  float scale = largest(values, n);
  const bool whole = n == block;
  if (!whole) scale = std::max(scale, kLeast);
  const float inverse = 1.0f / std::max(scale, kLeast);
  for (int64_t i = 0; i < n; ++i)
    store(i, std::clamp(whole ? values[i] * inverse : values[i] / scale, -1.0f, 1.0f));
  return scale;
}

int64_t blocks_of(int64_t n, int64_t size) {
  return (n + size - 1) / size;
}

// One tensor.
struct Nf4Tensor {
  int64_t row0 = 0, rows = 0;
  std::vector<uint8_t> codes;   // two elements a byte
  std::vector<uint8_t> scales;  // of each block of 64
  std::vector<float> outer;     // of each 256 of those
  float mean = 0;

  size_t bytes() const { return codes.size() + scales.size() + 4 * outer.size(); }
};

void quantise_block(const float* values, int64_t n, uint8_t* codes, float& scale) {
  static const Nearest<16> nearest(kValues);
  uint8_t index[kBlock + 1];
  scale = normalise(values, n, kBlock, [&](int64_t i, float x) { index[i] = nearest(x); });
  index[n] = 7;  // an odd end is filled up with zero
  for (int64_t i = 0; i < n; i += 2)
    codes[i / 2] = static_cast<uint8_t>(index[i] << 4 | index[i + 1]);
}

void quantise_scales(const std::vector<float>& scales, Nf4Tensor& out) {
  static const Nearest<256> nearest(dynamic_map());
  const auto n = static_cast<int64_t>(scales.size());
  // Summed as the reference sums.
  out.mean = at::from_blob(const_cast<float*>(scales.data()), {n}, at::kFloat).mean().item<float>();
  std::vector<float> moved(scales);
  for (float& s : moved) s -= out.mean;
  out.scales.resize(scales.size());
  for (int64_t begin = 0; begin < n; begin += kScales) {
    const int64_t count = std::min(kScales, n - begin);
    uint8_t* codes = out.scales.data() + begin;
    out.outer.push_back(normalise(moved.data() + begin, count, kScales,
                                  [&](int64_t i, float x) { codes[i] = nearest(x); }));
  }
}

Nf4Tensor quantise(const WeightSource& source, int64_t row0, int64_t rows) {
  // As many rows make whole blocks, whatever their width is.
  constexpr int64_t kRows = kBlock;
  const int64_t columns = source.columns, n = rows * columns;
  Nf4Tensor out;
  out.row0 = row0;
  out.rows = rows;
  out.codes.resize(static_cast<size_t>((n + 1) / 2));
  std::vector<float> scales(static_cast<size_t>(blocks_of(n, kBlock)));
  parallel_for(blocks_of(rows, kRows), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>(kRows * columns));
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * kRows, count = std::min(kRows, rows - first) * columns;
      source.read(row0 + first, row0 + first + count / columns, values.data());
      for (int64_t i = 0; i < count; ++i) {
        if (!std::isfinite(values[static_cast<size_t>(i)])) {
          throw Error(
              ErrorKind::data,
              str("the tensor holds ", values[static_cast<size_t>(i)], " at row ",
                  row0 + first + i / columns, ", column ", i % columns, ", which nf4 cannot hold"),
              source.name, "native keeps any value");
        }
      }
      for (int64_t i = 0; i < count; i += kBlock) {
        const int64_t block = (first * columns + i) / kBlock;
        quantise_block(values.data() + i, std::min(kBlock, count - i),
                       out.codes.data() + block * kBlock / 2, scales[static_cast<size_t>(block)]);
      }
    }
  });
  quantise_scales(scales, out);
  return out;
}

class Nf4Weight final : public PackedWeight {
 public:
  Nf4Weight(const WeightSource& source, Arithmetic arithmetic)
      : PackedWeight(source.rows, source.columns, arithmetic), map_(dynamic_map()) {
    const std::vector<int64_t> parts =
        source.parts.empty() ? std::vector{source.rows} : source.parts;
    int64_t row = 0;
    for (const int64_t rows : parts) {
      tensors_.push_back(quantise(source, row, rows));
      row += rows;
    }
  }

  std::string_view format() const override { return "nf4"; }
  size_t bytes() const override {
    size_t sum = 0;
    for (const Nf4Tensor& tensor : tensors_) sum += tensor.bytes();
    return sum;
  }

 protected:
  void unpack(int64_t row, int64_t begin, int64_t end, float* out) const override {
    unpack_row(row, begin, end, out, [](float x) { return x; });
  }
  void unpack(int64_t row, int64_t begin, int64_t end, Bf16* out) const override {
    unpack_row(row, begin, end, out, to_bf16);
  }

 private:
  template <class T, class Round>
  void unpack_row(int64_t row, int64_t begin, int64_t end, T* out, Round&& round) const {
    size_t part = 0;
    while (row >= tensors_[part].row0 + tensors_[part].rows) ++part;
    const Nf4Tensor& tensor = tensors_[part];
    const int64_t first = (row - tensor.row0) * in_features();
    int64_t i = first + begin;
    const int64_t last = first + end;
    while (i < last) {
      const int64_t block = i / kBlock, stop = std::min(last, (block + 1) * kBlock);
      const float inner = map_[tensor.scales[static_cast<size_t>(block)]];
      const float scale = inner * tensor.outer[static_cast<size_t>(block / kScales)] + tensor.mean;
      // Sixteen products serve the whole block.
      T values[16];
      for (size_t c = 0; c < 16; ++c) values[c] = round(kValues[c] * scale);
      const uint8_t* codes = tensor.codes.data() + i / 2;
      if constexpr (std::is_same_v<T, Bf16>) {
        if (i % kBlock == 0 && stop - i == kBlock) {
          nf4_block(codes, values, out);
          out += kBlock;
          i = stop;
          continue;
        }
      }
      if (i % 2 == 1) {
        *out++ = values[*codes++ & 15];
        ++i;
      }
      for (; i + 2 <= stop; i += 2, ++codes) {
        *out++ = values[*codes >> 4];
        *out++ = values[*codes & 15];
      }
      if (i < stop) {
        *out++ = values[*codes >> 4];
        ++i;
      }
    }
  }

  std::array<float, 256> map_;
  std::vector<Nf4Tensor> tensors_;
};

class Nf4Format final : public WeightFormat {
 public:
  std::string_view name() const override { return "nf4"; }
  std::string_view summary() const override {
    return "four-bit normal float with double quantisation, as bitsandbytes has it";
  }
  std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                         Arithmetic arithmetic) const override {
    const at::NoGradGuard no_grad;
    auto weight = std::make_shared<Nf4Weight>(source, arithmetic);
    if (source.release) source.release();
    return weight;
  }
};

}  // namespace

std::unique_ptr<const WeightFormat> make_nf4_weight_format() {
  return std::make_unique<Nf4Format>();
}

}  // namespace smidgen
