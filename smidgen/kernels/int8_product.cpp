#include "smidgen/kernels/int8_product.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "smidgen/base/error.h"
#include "smidgen/kernels/panel_loop.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

constexpr int64_t kGroup = 4, kGroupStride = kGroup * kPanelColumns;

void multiply(int64_t m, int64_t groups, const int8_t* a, int64_t lda, const uint8_t* panel,
              int64_t columns, int32_t* c, int64_t ldc, bool add) {
  for (int64_t row = 0; row < m; ++row, a += lda, c += ldc) {
    if (!add) std::fill(c, c + columns, 0);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t j = 0; j < columns; ++j) {
        for (int64_t i = 0; i < kGroup; ++i)
          c[j] += a[g * kGroup + i] * panel[g * kGroupStride + j * kGroup + i];
      }
    }
  }
}

// w(row, column) of B into its place, whole groups of rows.
template <class At>
void fill_panel(int64_t k, int64_t columns, uint8_t* panel, At&& w) {
  for (int64_t i = 0; i < (k + kGroup - 1) / kGroup * kGroup; ++i) {
    for (int64_t j = 0; j < columns; ++j)
      panel[i / kGroup * kGroupStride + j * kGroup + i % kGroup] =
          static_cast<uint8_t>((i < k ? w(i, j) : 0) + 128);
  }
}

void pack(int64_t k, int64_t columns, const int8_t* b, int64_t ldb, uint8_t* panel) {
  fill_panel(k, columns, panel, [&](int64_t i, int64_t j) { return b[i * ldb + j]; });
}

void pack_transposed(int64_t k, int64_t columns, const int8_t* bt, int64_t ldb, uint8_t* panel) {
  fill_panel(k, columns, panel, [&](int64_t i, int64_t j) { return bt[j * ldb + i]; });
}

void quantise(int64_t k, const Bf16* x, const float* factors, int8_t* q, float* scale,
              int32_t* sum) {
  const auto value = [&](int64_t i) { return to_float(x[i]) * (factors ? factors[i] : 1.0f); };
  float most = 0;
  bool finite = true;
  for (int64_t i = 0; i < k; ++i) {
    most = std::max(most, std::fabs(value(i)));
    finite = finite && std::isfinite(value(i));
  }
  // Below, the inverse overflows: such a row is as good as zero.
  const bool zero = !finite || most < 1e-30f;
  const float inverse = zero ? 0 : 127 / most;
  *scale = finite ? (zero ? 0 : most / 127) : std::numeric_limits<float>::quiet_NaN();
  *sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    q[i] = static_cast<int8_t>(zero ? 0 : std::lrintf(value(i) * inverse));
    *sum += q[i];
  }
  std::fill(q + k, q + (k + kGroup - 1) / kGroup * kGroup, int8_t{0});
}

void finish_rows(int64_t rows, int64_t columns, const float* scales, const int32_t* sums,
                 const float* column_scales, int32_t* c, int64_t ldc) {
  for (int64_t r = 0; r < rows; ++r, c += ldc) {
    for (int64_t j = 0; j < columns; ++j) {
      const float value = static_cast<float>(c[j] - 128 * sums[r]) * scales[r];
      const float scaled = column_scales ? value * column_scales[j] : value;
      std::memcpy(c + j, &scaled, sizeof scaled);
    }
  }
}

constexpr Int8Kernels kPortable{multiply, pack, pack_transposed, quantise, finish_rows};

}  // namespace

const Int8Kernels& int8_kernels_ref() {
  return kPortable;
}

const Int8Kernels& int8_kernels() {
  const Int8Kernels* fast = uses_int8_products() ? avx512_int8_kernels() : nullptr;
  return fast ? *fast : kPortable;
}

Int8Rows to_int8_rows(int64_t m, int64_t k, const Bf16* x, int64_t ldx, const float* factors) {
  Int8Rows out{.m = m, .k = k};
  out.values.resize(static_cast<size_t>(m * out.stride()));
  out.scales.resize(static_cast<size_t>(m));
  out.sums.resize(static_cast<size_t>(m));
  const Int8Kernels& kernels = int8_kernels();
  parallel_for(m, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernels.quantise(k, x + r * ldx, factors, out.values.data() + r * out.stride(),
                       &out.scales[static_cast<size_t>(r)], &out.sums[static_cast<size_t>(r)]);
  });
  return out;
}

void multiply_int8(const Int8Rows& a, int64_t n, const PackInt8Panel& pack,
                   const float* column_scales, const FinishBlock& finish) {
  SMIDGEN_ASSERT(a.k <= kMostInt8Terms);
  const Int8Kernels& kernels = int8_kernels();
  for_panels_of<uint8_t, int32_t>(
      a.m, a.k, n, /*inner=*/2048, pack,
      [&](int64_t row0, int64_t rows, int64_t k0, int64_t k1, const uint8_t* panel, int64_t columns,
          int32_t* sums, bool add) {
        kernels.multiply(rows, (k1 - k0 + kGroup - 1) / kGroup,
                         a.values.data() + row0 * a.stride() + k0, a.stride(), panel, columns, sums,
                         kPanelColumns, add);
      },
      [&](int64_t row0, int64_t rows, int64_t column0, int64_t columns, int32_t* sums) {
        kernels.finish(rows, columns, a.scales.data() + row0, a.sums.data() + row0,
                       column_scales ? column_scales + column0 : nullptr, sums, kPanelColumns);
        finish({row0, rows, column0, columns, reinterpret_cast<float*>(sums), kPanelColumns});
      });
}

PackInt8Panel int8_panels_of(const int8_t* w, int64_t ldw) {
  return [=](int64_t k0, int64_t k1, int64_t column0, int64_t columns, uint8_t* panel) {
    int8_kernels().pack(k1 - k0, columns, w + k0 * ldw + column0, ldw, panel);
  };
}

PackInt8Panel int8_panels_of_transposed(const int8_t* w, int64_t ldw) {
  return [=](int64_t k0, int64_t k1, int64_t column0, int64_t columns, uint8_t* panel) {
    int8_kernels().pack_transposed(k1 - k0, columns, w + column0 * ldw + k0, ldw, panel);
  };
}

}  // namespace smidgen
