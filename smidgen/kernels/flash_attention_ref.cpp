#include <algorithm>
#include <cmath>
#include <vector>

#include "smidgen/kernels/flash_attention.h"

namespace smidgen {
namespace {

double product(int64_t n, const double* a, const double* b) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

void flash_attention_ref(const FlashAttention& shape, const double* q, const double* k,
                         const double* v, double* out, const double* dout, double* dq, double* dk,
                         double* dv) {
  const int64_t c = shape.width, h = shape.heads, g = shape.kv_heads;
  std::fill_n(out, shape.queries() * h * c, 0.0);
  if (dout) {
    std::fill_n(dq, shape.queries() * h * c, 0.0);
    std::fill_n(dk, shape.keys() * g * c, 0.0);
    std::fill_n(dv, shape.keys() * g * c, 0.0);
  }
  for (size_t s = 0; s + 1 < shape.query_starts.size(); ++s) {
    const int64_t key0 = shape.key_starts[s], keys = shape.key_starts[s + 1] - key0;
    for (int64_t row = shape.query_starts[s]; row < shape.query_starts[s + 1]; ++row) {
      const KeyRange seen =
          visible_keys(shape.mask, shape.window, shape.prefix.empty() ? 0 : shape.prefix[s],
                       keys - shape.query_starts[s + 1] + row, keys);
      std::vector<double> p(static_cast<size_t>(seen.end - seen.begin)), slope(p.size());
      for (int64_t head = 0; head < h && !p.empty(); ++head) {
        const int64_t at = (row * h + head) * c;
        const auto of_key = [&](size_t i) {
          return ((key0 + seen.begin + static_cast<int64_t>(i)) * g + head / (h / g)) * c;
        };
        for (size_t i = 0; i < p.size(); ++i) {
          const double score = shape.scale * product(c, q + at, k + of_key(i));
          const double turned = shape.softcap != 0 ? std::tanh(score / shape.softcap) : 0;
          p[i] = shape.softcap != 0 ? shape.softcap * turned : score;
          slope[i] = shape.scale * (1 - turned * turned);
        }
        const double largest = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - largest);
        for (size_t i = 0; i < p.size(); ++i) {
          p[i] /= sum;
          for (int64_t x = 0; x < c; ++x) out[at + x] += p[i] * v[of_key(i) + x];
        }
        if (!dout) continue;
        const double delta = product(c, dout + at, out + at);
        for (size_t i = 0; i < p.size(); ++i) {
          const int64_t to = of_key(i);
          const double ds = p[i] * (product(c, dout + at, v + to) - delta) * slope[i];
          for (int64_t x = 0; x < c; ++x) {
            dv[to + x] += p[i] * dout[at + x];
            dq[at + x] += ds * k[to + x];
            dk[to + x] += ds * q[at + x];
          }
        }
      }
    }
  }
}

}  // namespace smidgen
