#include "smidgen/methods/meft_checks_test.h"

namespace smidgen {
namespace {

using namespace meft_checks;

TEST(Meft3, IsAttentionIntoOneStreamAndMlpsIntoTheOther) {
  for (const char* family : {"llama", "gpt2", "granite"}) {
    for (const bool average : {false, true}) {
      expect_formula(
          family, "meft3",
          {{"x1_factor", 0.25}, {"x2_factor", 0.5}, {"combine", average ? "average" : "main"}},
          [&](const Adapter&, const Stack& stack, const at::Tensor& x) {
            at::Tensor x1 = x, x2 = x;
            for (const BlockStretches& block : stack.blocks) {
              x1 = 0.25 * x1 + block.attention(x2);
              x2 = 0.5 * x2 + block.mlp(x1);
            }
            return average ? (x1 + x2) / 2 : x2;
          });
    }
  }
}

TEST(Meft3, TheHalvesOfABlockAreTheBlock) {
  const auto model = load_model(tiny_files(tiny_config("llama")), {.dtype = "fp32"});
  const std::string stack = model->module_sites().back().name;
  model->find(stack).slots().attach(
      1, std::make_shared<Formula>([](const Stack& s, const at::Tensor& x) {
        at::Tensor y = x;
        for (const BlockStretches& block : s.blocks) y = block.mlp(block.attention(y));
        return y;
      }));
  EXPECT_TRUE(at::equal(hidden(*model, 1), hidden(*model, 0)));
}

TEST(Meft3, NeedsHalvesThatFollowEachOther) {
  const auto model = load_model(tiny_files(tiny_config("gpt_neox")), {.dtype = "fp32"});
  const auto adapter = Adapter::create(*model, "meft3", Json::object(), 5);
  adapter->attach(*model, 1);
  try {
    hidden(*model, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("gpt_neox"), std::string::npos) << e.what();
    EXPECT_NE(e.hint().find("meft1"), std::string::npos) << e.hint();
  }
}

}  // namespace
}  // namespace smidgen
