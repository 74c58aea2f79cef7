#include "smidgen/kernels/tile_product.h"

#include <algorithm>

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/tile_product.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// Rows x vectors of sums in registers. A pair of bf16 lies in one 32-bit lane: the first is its
// lower half.
template <int Rows>
HWY_INLINE void tile(int64_t k, const Bf16* a, int64_t lda, const Bf16* panel, int64_t columns,
                     float* c, int64_t ldc, bool add) {
  const D d;
  const hn::Rebind<uint32_t, D> d32;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t j = 0; j < columns; j += lanes) {
    const size_t rest = static_cast<size_t>(std::min(lanes, columns - j));
    V sums[Rows];
    for (int r = 0; r < Rows; ++r)
      sums[r] = add ? load_part(d, c + r * ldc + j, rest) : hn::Zero(d);
    const Bf16* pairs = panel + 2 * j;
    for (int64_t i = 0; i < k; i += 2, pairs += 2 * kPanelColumns) {
      const auto both = hn::LoadU(d32, reinterpret_cast<const uint32_t*>(pairs));
      const V first = hn::BitCast(d, hn::ShiftLeft<16>(both));
      const V second = hn::BitCast(d, hn::And(both, hn::Set(d32, 0xffff0000u)));
      for (int r = 0; r < Rows; ++r) {
        const Bf16* x = a + r * lda + i;
        sums[r] = hn::MulAdd(hn::Set(d, to_float(x[0])), first, sums[r]);
        if (i + 1 < k) sums[r] = hn::MulAdd(hn::Set(d, to_float(x[1])), second, sums[r]);
      }
    }
    for (int r = 0; r < Rows; ++r) store_part(d, sums[r], c + r * ldc + j, rest);
  }
}

void Multiply(int64_t m, int64_t k, const Bf16* a, int64_t lda, const Bf16* panel, int64_t columns,
              float* c, int64_t ldc, bool add) {
  int64_t row = 0;
  for (; row + 4 <= m; row += 4) {
    tile<4>(k, a + row * lda, lda, panel, columns, c + row * ldc, ldc, add);
  }
  for (; row < m; ++row) {
    tile<1>(k, a + row * lda, lda, panel, columns, c + row * ldc, ldc, add);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(Multiply);

void multiply(int64_t m, int64_t k, const Bf16* a, int64_t lda, const Bf16* panel, int64_t columns,
              float* c, int64_t ldc, bool add) {
  HWY_DYNAMIC_DISPATCH(Multiply)(m, k, a, lda, panel, columns, c, ldc, add);
}

// b(i, j) is the element at row i and column j.
template <class Element>
void pack_by(int64_t k, int64_t columns, Bf16* panel, Element&& b) {
  const int64_t whole = (columns + 15) / 16 * 16;
  for (int64_t i = 0; i < k; i += 2, panel += 2 * kPanelColumns) {
    for (int64_t j = 0; j < whole; ++j) {
      panel[2 * j] = j < columns ? b(i, j) : Bf16{};
      panel[2 * j + 1] = j < columns && i + 1 < k ? b(i + 1, j) : Bf16{};
    }
  }
}

void pack(int64_t k, int64_t columns, const Bf16* b, int64_t ldb, Bf16* panel) {
  pack_by(k, columns, panel, [=](int64_t i, int64_t j) { return b[i * ldb + j]; });
}

void pack_transposed(int64_t k, int64_t columns, const Bf16* bt, int64_t ldb, Bf16* panel) {
  pack_by(k, columns, panel, [=](int64_t i, int64_t j) { return bt[j * ldb + i]; });
}

constexpr TileKernels kPortable{multiply, pack, pack_transposed};

}  // namespace

const TileKernels& tile_kernels() {
  choose_kernel_target();
  return uses_bf16_products() ? *avx512_bf16_tile_kernels() : kPortable;
}

}  // namespace smidgen
#endif  // HWY_ONCE
