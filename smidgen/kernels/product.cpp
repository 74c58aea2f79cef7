#include "smidgen/kernels/product.h"

#include <algorithm>
#include <memory>
#include <new>

#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

// A panel of 1024 rows is 128 KiB, half of what it may take of a core's second-level cache; sums of
// 1024 rows are twice that, and met once for each panel.
constexpr int64_t kInner = 1024, kRowsTogether = 1024, kRowsHot = 96;

struct AlignedDelete {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};

// Scratch of a thread, grown and kept.
template <class T>
T* scratch(int64_t elements) {
  thread_local std::unique_ptr<T, AlignedDelete> memory;
  thread_local int64_t size = 0;
  if (size < elements) {
    memory.reset(static_cast<T*>(
        ::operator new(static_cast<size_t>(elements) * sizeof(T), std::align_val_t(64))));
    size = elements;
  }
  return memory.get();
}

}  // namespace

void multiply_packed(int64_t m, int64_t k, int64_t n, const Bf16* a, int64_t lda,
                     const PackPanel& pack, const FinishBlock& finish) {
  if (m == 0 || n == 0) return;
  const TileKernels& kernels = tile_kernels();
  // Columns go to threads a panel at a time, and towards the end in parts of one, so that two
  // threads are done with nine panels at the same time.
  const int64_t steps = (n + 15) / 16;
  parallel_claims(steps, 1, kPanelColumns / 16, [&](int64_t step0, int64_t step1) {
    const int64_t end = std::min(n, step1 * 16);
    Bf16* panel = scratch<Bf16>(panel_elements(std::min(k, kInner)));
    const bool single = k <= kInner;
    const int64_t together = single ? kRowsHot : kRowsTogether;
    float* block = scratch<float>(std::min(m, together) * kPanelColumns);
    for (int64_t column0 = step0 * 16; column0 < end; column0 += kPanelColumns) {
      const int64_t columns = std::min(kPanelColumns, end - column0);
      if (single) pack(0, k, column0, columns, panel);
      for (int64_t row0 = 0; row0 < m; row0 += together) {
        const int64_t rows = std::min(together, m - row0);
        for (int64_t k0 = 0; k0 < std::max<int64_t>(1, k); k0 += kInner) {
          const int64_t k1 = std::min(k, k0 + kInner);
          if (!single) pack(k0, k1, column0, columns, panel);
          kernels.multiply(rows, k1 - k0, a + row0 * lda + k0, lda, panel, columns, block,
                           kPanelColumns, k0 > 0);
        }
        finish({row0, rows, column0, columns, block, kPanelColumns});
      }
    }
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
