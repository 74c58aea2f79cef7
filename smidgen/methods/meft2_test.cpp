#include "smidgen/methods/meft_checks_test.h"

namespace smidgen {
namespace {

using namespace meft_checks;

TEST(Meft2, IsAdaptersIntoOneStreamAndBlocksIntoTheOther) {
  for (const char* family : {"llama", "qwen3"}) {
    for (const bool average : {false, true}) {
      expect_formula(
          family, "meft2",
          {{"x1_factor", 0.5}, {"x2_factor", 0.25}, {"combine", average ? "average" : "main"}},
          [&](const Adapter& adapter, const Stack& stack, const at::Tensor& x) {
            at::Tensor x1 = x, x2 = x;
            int64_t layer = 0;
            for (const BlockStretches& block : stack.blocks) {
              const at::Tensor y1 = 0.5 * x1 + own(adapter, str("model.layers.", layer++), x2);
              const at::Tensor y2 = 0.25 * x2 + block.whole(y1);
              x1 = y2;
              x2 = y1;
            }
            return average ? (x1 + x2) / 2 : x1;
          });
    }
  }
}

}  // namespace
}  // namespace smidgen
