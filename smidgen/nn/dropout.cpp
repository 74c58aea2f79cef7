#include "smidgen/nn/dropout.h"

#include <torch/torch.h>

#include "smidgen/base/rng.h"

namespace smidgen {

at::Tensor dropout_mask(const DropoutClock& clock, double p, std::string_view site, int64_t rows,
                        int64_t columns) {
  if (!clock.on || p == 0) return {};
  const Rng rng(clock.seed, "dropout", clock.step, site);
  const auto keep = static_cast<float>(1 / (1 - p));
  const auto below = static_cast<uint64_t>(p * 0x1p32);  // words under it are dropped
  at::Tensor mask = at::empty({rows, columns}, at::kFloat);
  float* out = mask.mutable_data_ptr<float>();
  // Four elements of a row share one block of the generator.
  const int64_t blocks = (columns + 3) / 4;
  at::parallel_for(0, rows, std::max<int64_t>(1, 4096 / columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto first = static_cast<uint64_t>((clock.first_row + row) * blocks);
      for (int64_t column = 0; column < columns; column += 4) {
        const PhiloxBlock words = rng.block(first + static_cast<uint64_t>(column / 4));
        const int64_t count = std::min<int64_t>(4, columns - column);
        for (int64_t k = 0; k < count; ++k) {
          out[row * columns + column + k] = words[static_cast<size_t>(k)] < below ? 0 : keep;
        }
      }
    }
  });
  return mask;
}

}  // namespace smidgen
