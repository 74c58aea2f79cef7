// The loop around a product with a matrix that is packed while it is multiplied, for any element.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

#include "smidgen/base/threads.h"
#include "smidgen/kernels/tile_product.h"

namespace smidgen {

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

// Of the inner width, `inner` rows are packed at a time, into a panel of whole groups of four, half
// of what it may take of a core's second-level cache; sums of 1024 rows are twice that, and met
// once for each panel.
//   pack(k0, k1, column0, columns, panel)
//   multiply(row0, rows, k0, k1, panel, columns, sums, add)
//   finish(row0, rows, column0, columns, sums)      sums [rows][kPanelColumns]
template <class Element, class Sum, class Pack, class Multiply, class Finish>
void for_panels_of(int64_t m, int64_t k, int64_t n, int64_t inner, Pack&& pack, Multiply&& multiply,
                   Finish&& finish) {
  constexpr int64_t kRowsTogether = 1024, kRowsHot = 96;
  if (m == 0 || n == 0) return;
  // Columns go to threads a panel at a time, and towards the end in parts of one, so that two
  // threads are done with nine panels at the same time.
  const int64_t steps = (n + 15) / 16;
  parallel_claims(steps, 1, kPanelColumns / 16, [&](int64_t step0, int64_t step1) {
    const int64_t end = std::min(n, step1 * 16);
    Element* panel = scratch<Element>((std::min(k, inner) + 3) / 4 * 4 * kPanelColumns);
    const bool single = k <= inner;
    const int64_t together = single ? kRowsHot : kRowsTogether;
    Sum* sums = scratch<Sum>(std::min(m, together) * kPanelColumns);
    for (int64_t column0 = step0 * 16; column0 < end; column0 += kPanelColumns) {
      const int64_t columns = std::min(kPanelColumns, end - column0);
      if (single) pack(int64_t{0}, k, column0, columns, panel);
      for (int64_t row0 = 0; row0 < m; row0 += together) {
        const int64_t rows = std::min(together, m - row0);
        for (int64_t k0 = 0; k0 < std::max<int64_t>(1, k); k0 += inner) {
          const int64_t k1 = std::min(k, k0 + inner);
          if (!single) pack(k0, k1, column0, columns, panel);
          multiply(row0, rows, k0, k1, panel, columns, sums, k0 > 0);
        }
        finish(row0, rows, column0, columns, sums);
      }
    }
  });
}

}  // namespace smidgen
