#include "smidgen/delta/merge/moe_recipe.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

std::optional<MoeRecipe> parse(const std::string& text, bool strict = false) {
  return parse_moe_recipe(text, "m.yml", strict);
}
std::string refused(const std::string& text, bool strict = false) {
  return error_of([&] { parse(text, strict); });
}
// Two experts, and `more` at the end.
std::string two(const std::string& more, const std::string& first = "positive_prompts: [sum]") {
  return str("base_model: base\nexperts:\n  - source_model: a\n    ", first,
             "\n  - source_model: b\n    positive_prompts: [poem, rhyme]\n", more);
}

TEST(MoeRecipe, ReadsWhatMergekitReads) {
  const MoeRecipe r = *parse(R"(
base_model: ./base/
gate_mode: cheap_embed
dtype: bfloat16
experts_per_token: 1
experts:
  - source_model: a+adapters/x
    positive_prompts:
      - "code"
      - |
        def f(x):
    negative_prompts: [poem]
    noise_scale: 0.1
    residual_scale: 5e-1
  - source_model: ./base
    positive_prompts: [poem]
)");
  EXPECT_EQ(r.base.text(), "./base");
  EXPECT_EQ(r.gates, GateMode::embeddings);
  EXPECT_EQ(r.dtype, Format::bf16);
  EXPECT_EQ(r.used, 1);
  ASSERT_EQ(r.experts.size(), 2u);
  EXPECT_EQ(r.experts[0].model.text(), "a+adapters/x");
  EXPECT_EQ(r.experts[0].positive, (std::vector<std::string>{"code", "def f(x):\n"}));
  EXPECT_EQ(r.experts[0].negative, std::vector<std::string>{"poem"});
  EXPECT_EQ(r.experts[0].noise, 0.1);
  EXPECT_EQ(r.experts[0].scale, 0.5);
  EXPECT_EQ(r.experts[1].noise, 0);
  EXPECT_EQ(r.experts[1].scale, 1);
  EXPECT_EQ(models_of(r).size(), 2u);
}

TEST(MoeRecipe, DefaultsAreMergekits) {
  const MoeRecipe r = *parse(two(""));
  EXPECT_EQ(r.gates, GateMode::hidden_last);
  EXPECT_EQ(r.used, 2);
  EXPECT_FALSE(r.dtype);
  EXPECT_EQ(parse(two("gate_mode: hidden_avg\n"))->gates, GateMode::hidden_mean);
  EXPECT_EQ(parse(two("gate_mode: uniform_random\n", "noise_scale: 1"))->gates, GateMode::uniform);
}

TEST(MoeRecipe, OtherDocumentsAreNone) {
  EXPECT_FALSE(parse("merge_method: linear\nmodels: [{model: a}]\n"));
  EXPECT_FALSE(parse(""));
  EXPECT_FALSE(parse("- experts\n"));
  EXPECT_TRUE(refused(str(two(""), "---\nmerge_method: linear\n"))
                  .starts_with("unsupported: a recipe of experts beside other documents"));
}

TEST(MoeRecipe, SaysWhatIsWrongAndWhere) {
  const auto expect = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(refused("base_model: base\nexperts: []\n"), "without experts (m.yml:2");
  expect(refused("experts: [{source_model: a}]\n"), "needs [base_model]");
  expect(refused(two("experts_per_token: 3\n")), "cannot use 3 of 2 experts");
  expect(refused(two("experts_per_token: 0\n")), "cannot use 0 of 2 experts");
  expect(refused(two("", "noise_scale: 1")), "without [positive_prompts] (m.yml:3:5)");
  expect(refused(two("", "positive_prompts: [poem, rhyme]")), "have the same prompts");
  EXPECT_EQ(refused(two("gate_mode: random\n", "positive_prompts: [poem, rhyme]")), "no error");
  expect(refused(two("gate_mode: hiden\n")), "did you mean 'hidden'");
  expect(refused(two("shared_experts: [{source_model: c}]\n")), "shared experts belong to");
  EXPECT_EQ(refused(two("shared_experts: []\n")), "no error");
  expect(refused(two("gate_mod: hidden\n")), "did you mean 'gate_mode'");
  expect(refused(two("", "noise_scale: loud")), "noise_scale is not a number (m.yml:4");
  expect(refused(two("dtype: int8\n")), "not a type of weights");
  expect(refused(two("colour: red\n"), true), "[colour] has no effect in a recipe of experts");
  EXPECT_EQ(parse(two("colour: red\n"))->ignored.size(), 1u);
}

}  // namespace
}  // namespace smidgen
