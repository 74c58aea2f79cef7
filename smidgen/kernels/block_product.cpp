#include "smidgen/kernels/block_product.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

constexpr int64_t kTogether = 16;    // rows of W that a kernel takes
constexpr int64_t kHandOut = 256;    // columns of a finished block
constexpr int64_t kAlone = 1 << 15;  // bytes of W below which waking a thread costs more
constexpr int64_t kAhead = 1 << 14;  // bytes of W between what is read and what is fetched

FixedRows empty_rows(int64_t m, int64_t k) {
  SMIDGEN_ASSERT(k % kFixedBlock == 0);
  FixedRows rows{m, k, {}, {}, {}, {}};
  rows.high.resize(static_cast<size_t>(m * k));
  rows.low.resize(static_cast<size_t>(m * k));
  rows.scales.resize(static_cast<size_t>(m * rows.blocks()));
  rows.sums.resize(static_cast<size_t>(2 * m * rows.blocks()));
  return rows;
}

template <class T>
void to_fixed_row(FixedRows& to, int64_t row, const T* x) {
  for (int64_t b = 0; b < to.blocks(); ++b, x += kFixedBlock) {
    float most = 0;
    bool strange = false;
    for (int64_t i = 0; i < kFixedBlock; ++i) {
      most = std::max(most, std::abs(to_float(x[i])));
      strange |= !std::isfinite(to_float(x[i]));
    }
    const bool tiny = !(most >= 1e-30f);
    const auto block = static_cast<size_t>(row * to.blocks() + b);
    to.scales[block] = strange ? std::numeric_limits<float>::quiet_NaN() : tiny ? 0 : most / 32512;
    const float inverse = strange || tiny ? 0 : 32512 / most;
    to.sums[2 * block] = to.sums[2 * block + 1] = 0;
    for (int64_t i = 0; i < kFixedBlock; ++i) {
      const int q = strange ? 0 : static_cast<int>(std::nearbyint(to_float(x[i]) * inverse));
      const auto at = static_cast<size_t>(row * to.k + b * kFixedBlock + i);
      to.high[at] = static_cast<int8_t>((q + 128) >> 8);
      to.low[at] = static_cast<int8_t>(q - 256 * to.high[at]);
      to.sums[2 * block + static_cast<size_t>(i / kFixedHalf)] += q;
    }
  }
}

const BlockKernels* kernels() {
  return uses_int8_products() ? avx512_vnni_block_kernels() : nullptr;
}

template <class T>
FixedRows fixed(int64_t m, int64_t k, const T* x, int64_t ldx) {
  FixedRows rows = empty_rows(m, k);
  const BlockKernels* found = kernels();
  for (int64_t row = 0; row < m; ++row, x += ldx) {
    if (!found) {
      to_fixed_row(rows, row, x);
    } else if constexpr (std::is_same_v<T, Bf16>) {
      found->to_fixed_halves(rows, row, x);
    } else {
      found->to_fixed_floats(rows, row, x);
    }
  }
  return rows;
}

// 32 elements of a row of W as the kernels see them: scale (q - bias) + minimum, with a scale for
// each half where `halves`.
struct Codes {
  int q[kFixedBlock];
  int bias = 0;
  bool halves = false, has_minimum = false;
  float scale[2] = {0, 0}, minimum = 0;
};

int byte_at(const std::byte* p, int64_t i) {
  return std::to_integer<int>(p[i]);
}
float half_at(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}
void nibbles(const std::byte* p, Codes& codes) {
  for (int i = 0; i < 16; ++i)
    codes.q[i] = byte_at(p, i) & 15, codes.q[i + 16] = byte_at(p, i) >> 4;
}

Codes codes_at(Format format, const std::byte* row, int64_t block) {
  Codes codes;
  const std::byte* p = row;
  const auto sub = static_cast<int>(block % 8);
  switch (format) {
    case Format::q4_0:
      p += 18 * block;
      nibbles(p + 2, codes);
      codes.bias = 8;
      codes.scale[0] = half_at(p);
      return codes;
    case Format::q4_1:
      p += 20 * block;
      nibbles(p + 4, codes);
      codes.scale[0] = half_at(p);
      codes.minimum = half_at(p + 2);
      codes.has_minimum = true;
      return codes;
    case Format::q8_0:
      p += 34 * block;
      for (int i = 0; i < kFixedBlock; ++i) codes.q[i] = byte_at(p, 2 + i) ^ 128;
      codes.bias = 128;
      codes.scale[0] = half_at(p);
      return codes;
    case Format::q4_k: {
      p += 144 * (block / 8);
      const int first = byte_at(p, 4 + sub % 4), second = byte_at(p, 8 + sub % 4),
                third = byte_at(p, 12 + sub % 4);
      const int scale = sub < 4 ? first & 63 : (third & 15) | (first >> 6) << 4;
      const int minimum = sub < 4 ? second & 63 : third >> 4 | (second >> 6) << 4;
      for (int i = 0; i < kFixedBlock; ++i)
        codes.q[i] = byte_at(p, 16 + 32 * (sub / 2) + i) >> (4 * (sub % 2)) & 15;
      codes.scale[0] = half_at(p) * static_cast<float>(scale);
      codes.minimum = 0 - half_at(p + 2) * static_cast<float>(minimum);
      codes.has_minimum = true;
      return codes;
    }
    case Format::q6_k: {
      p += 210 * (block / 8);
      const int half = sub / 4, part = sub % 4;
      for (int i = 0; i < kFixedBlock; ++i) {
        const int four = byte_at(p, 64 * half + 32 * (part % 2) + i) >> (4 * (part / 2)) & 15;
        codes.q[i] = four | (byte_at(p, 128 + 32 * half + i) >> (2 * part) & 3) << 4;
      }
      codes.bias = 32;
      codes.halves = true;
      for (int h = 0; h < 2; ++h)
        codes.scale[h] =
            half_at(p + 208) *
            static_cast<float>(static_cast<int8_t>(byte_at(p, 192 + 8 * half + 2 * part + h)));
      return codes;
    }
    default:
      SMIDGEN_ASSERT(!"a format without a block product");
  }
}

}  // namespace

FixedRows to_fixed(int64_t m, int64_t k, const float* x, int64_t ldx) {
  return fixed(m, k, x, ldx);
}
FixedRows to_fixed(int64_t m, int64_t k, const Bf16* x, int64_t ldx) {
  return fixed(m, k, x, ldx);
}
FixedRows to_fixed_ref(int64_t m, int64_t k, const float* x, int64_t ldx) {
  FixedRows rows = empty_rows(m, k);
  for (int64_t row = 0; row < m; ++row) to_fixed_row(rows, row, x + row * ldx);
  return rows;
}

bool has_block_product(Format format) {
  const BlockKernels* found = kernels();
  return found && found->find(format);
}

namespace {

// Rows [begin, end) of W, at most 16 of one format: where they are, if they are evenly apart and
// 16, else where they were copied to.
struct Group {
  const std::byte* first;
  int64_t stride;
};
Group group_of(const BlockRows& w, size_t begin, size_t end, int64_t bytes,
               std::vector<std::byte>& copies) {
  const std::byte* const* rows = w.rows.data() + begin;
  const int64_t stride = rows[1 % (end - begin)] - rows[0];
  bool even = end - begin == kTogether && std::abs(stride) < (1 << 24);
  for (int64_t i = 1; even && i < kTogether; ++i) even = rows[i] - rows[0] == i * stride;
  if (even) return {rows[0], stride};
  copies.assign(static_cast<size_t>(kTogether * bytes), std::byte{});
  for (size_t i = 0; i < end - begin; ++i)
    std::copy_n(rows[i], bytes, copies.begin() + static_cast<int64_t>(i) * bytes);
  return {copies.data(), bytes};
}

}  // namespace

void multiply_blocks(const FixedRows& a, const BlockRows& w, const FinishBlock& finish) {
  const auto n = static_cast<int64_t>(w.rows.size());
  const int64_t groups = (n + kTogether - 1) / kTogether;
  const int64_t grain = std::max<int64_t>(1, kAlone / (kTogether * a.k / 2));
  const BlockKernels& found = *kernels();
  parallel_for(groups, grain, [&](int64_t begin, int64_t end) {
    thread_local std::vector<float> results;
    thread_local std::vector<std::byte> copies;
    results.resize(static_cast<size_t>(a.rows * (kHandOut + kTogether)));
    const int64_t ldc = kHandOut + kTogether, last = std::min(n, end * kTogether);
    for (int64_t column = begin * kTogether; column < last;) {
      const int64_t first = column, stop = std::min(last, column + kHandOut);
      while (column < stop) {
        const auto at = static_cast<size_t>(column);
        const Format format = w.formats[at];
        size_t after = at + 1;
        const auto most = static_cast<size_t>(std::min(stop, column + kTogether));
        while (after < most && w.formats[after] == format) ++after;
        const FormatInfo& type = info(format);
        const int64_t bytes = a.k / type.elements * type.bytes;
        const Group group = group_of(w, at, after, bytes, copies);
        const size_t later =
            std::min(after + static_cast<size_t>(kAhead / bytes), w.rows.size() - 1);
        const BlockKernels::Multiply multiply = found.find(format);
        SMIDGEN_ASSERT(multiply);
        multiply(a, group.first, group.stride, w.rows[later], results.data() + (column - first),
                 ldc);
        column = static_cast<int64_t>(after);
      }
      finish({0, a.rows, first, stop - first, results.data(), ldc});
    }
  });
}

void multiply_blocks_ref(const FixedRows& a, const BlockRows& w, float* c, int64_t ldc) {
  for (size_t column = 0; column < w.rows.size(); ++column) {
    for (int64_t row = 0; row < a.rows; ++row) {
      float y = 0;
      for (int64_t block = 0; block < a.blocks(); ++block) {
        const Codes codes = codes_at(w.formats[column], w.rows[column], block);
        const auto of_a = static_cast<size_t>(row * a.blocks() + block);
        int sums[2] = {0, 0};
        for (int64_t i = 0; i < kFixedBlock; ++i) {
          const auto at = static_cast<size_t>(row * a.k + block * kFixedBlock + i);
          sums[i / kFixedHalf] += (codes.q[i] - codes.bias) * (256 * a.high[at] + a.low[at]);
        }
        const float scale = a.scales[of_a];
        if (codes.halves) {
          for (int h = 0; h < 2; ++h)
            y = std::fma(static_cast<float>(sums[h]), codes.scale[h] * scale, y);
        } else {
          y = std::fma(static_cast<float>(sums[0] + sums[1]), codes.scale[0] * scale, y);
        }
        const int of_row = a.sums[2 * of_a] + a.sums[2 * of_a + 1];
        if (codes.has_minimum) y = std::fma(codes.minimum, scale * static_cast<float>(of_row), y);
      }
      c[row * ldc + static_cast<int64_t>(column)] = y;
    }
  }
}

}  // namespace smidgen
