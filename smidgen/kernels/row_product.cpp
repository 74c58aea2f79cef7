#include "smidgen/kernels/row_product.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

constexpr int64_t kTogether = 16;    // rows of W that a kernel takes
constexpr int64_t kHandOut = 256;    // columns of a finished block
constexpr int64_t kAlone = 1 << 15;  // elements of W for which no second thread is woken

}  // namespace

void multiply_few_rows(int64_t m, int64_t k, int64_t n, const Bf16* a, int64_t lda, const Bf16* w,
                       int64_t ldw, const FinishBlock& finish) {
  SMIDGEN_ASSERT(m <= kFewRows);
  if (!uses_bf16_products())
    return multiply_packed(m, k, n, a, lda, panels_of_transposed(w, ldw), finish);
  if (m == 0) return;
  const auto multiply = avx512_bf16_row_kernels()->by_rows[m - 1];
  const int64_t groups = (n + kTogether - 1) / kTogether;
  const int64_t grain = std::max<int64_t>(1, kAlone / (kTogether * std::max<int64_t>(1, k)));
  parallel_for(groups, grain, [&](int64_t begin, int64_t end) {
    alignas(64) float results[kFewRows * kHandOut];
    const int64_t last = std::min(n, end * kTogether);
    for (int64_t first = begin * kTogether; first < last; first += kHandOut) {
      const int64_t stop = std::min(last, first + kHandOut);
      for (int64_t column = first; column < stop; column += kTogether) {
        multiply(k, a, lda, w + column * ldw, ldw, std::min(kTogether, n - column),
                 w + std::min(n - 1, column + kTogether) * ldw, results + (column - first),
                 kHandOut);
      }
      finish({0, m, first, stop - first, results, kHandOut});
    }
  });
}

}  // namespace smidgen
