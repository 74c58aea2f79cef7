#include "smidgen/methods/meft_checks_test.h"

namespace smidgen {
namespace {

using namespace meft_checks;

TEST(Meft1, IsBlocksIntoOneStreamAndAdaptersIntoTheOther) {
  for (const char* family : {"llama", "gemma2", "gpt_neox"}) {
    for (const bool average : {false, true}) {
      expect_formula(
          family, "meft1",
          {{"x1_factor", 0.25}, {"x2_factor", 0.5}, {"combine", average ? "average" : "main"}},
          [&](const Adapter& adapter, const Stack& stack, const at::Tensor& x) {
            at::Tensor x1 = x, x2 = x;
            int64_t layer = 0;
            for (const BlockStretches& block : stack.blocks) {
              const std::string path =
                  str(family == std::string("gpt_neox") ? "gpt_neox.layers." : "model.layers.",
                      layer++);
              const at::Tensor y1 = 0.25 * x1 + block.whole(x2);
              const at::Tensor y2 = 0.5 * x2 + own(adapter, path, y1);
              x1 = y2;
              x2 = y1;
            }
            return average ? (x1 + x2) / 2 : x2;
          });
    }
  }
}

TEST(Meft1, HasNoAdapterThatReachesNothing) {
  const auto model = load_model(tiny_files(tiny_config("llama")), {.dtype = "fp32"});
  const auto count = [&](const char* combine) {
    return Adapter::create(*model, "meft1", {{"combine", combine}}, 5)->store().parameters().size();
  };
  EXPECT_EQ(count("average"), count("main") + 4);
}

}  // namespace
}  // namespace smidgen
