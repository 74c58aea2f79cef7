#include "smidgen/kernels/product.h"

#include "smidgen/kernels/panel_loop.h"

namespace smidgen {

void multiply_packed(int64_t m, int64_t k, int64_t n, const Bf16* a, int64_t lda,
                     const PackPanel& pack, const FinishBlock& finish) {
  const TileKernels& kernels = tile_kernels();
  for_panels_of<Bf16, float>(
      m, k, n, /*inner=*/1024, pack,
      [&](int64_t row0, int64_t rows, int64_t k0, int64_t k1, const Bf16* panel, int64_t columns,
          float* sums, bool add) {
        kernels.multiply(rows, k1 - k0, a + row0 * lda + k0, lda, panel, columns, sums,
                         kPanelColumns, add);
      },
      [&](int64_t row0, int64_t rows, int64_t column0, int64_t columns, float* sums) {
        finish({row0, rows, column0, columns, sums, kPanelColumns});
      });
}

PackPanel panels_of(const Bf16* w, int64_t ldw) {
  return [=](int64_t k0, int64_t k1, int64_t column0, int64_t columns, Bf16* panel) {
    tile_kernels().pack(k1 - k0, columns, w + k0 * ldw + column0, ldw, panel);
  };
}

PackPanel panels_of_transposed(const Bf16* w, int64_t ldw) {
  return [=](int64_t k0, int64_t k1, int64_t column0, int64_t columns, Bf16* panel) {
    tile_kernels().pack_transposed(k1 - k0, columns, w + column0 * ldw + k0, ldw, panel);
  };
}

}  // namespace smidgen
