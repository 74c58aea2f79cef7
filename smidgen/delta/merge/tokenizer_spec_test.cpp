// The key `transplant`; the others are in recipe_test.cpp.
#include "smidgen/delta/merge/tokenizer_spec.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {
namespace {

using Method = TransplantOptions::Method;

MergedTokenizer read(const std::string& tokenizer) {
  return *parse_merge_recipes(
              str("merge_method: passthrough\nmodels: [{model: a}]\ntokenizer: ", tokenizer),
              "m.yml")
              .at(0)
              .tokenizer;
}

TEST(TokenizerSpec, ATransplantIsAMethodOrAMap) {
  EXPECT_FALSE(read("{source: base}").transplant);
  EXPECT_EQ(read("{source: b, transplant: subword}").transplant->method, Method::subword);
  const auto made =
      read("{source: b, transplant: {method: nearest, neighbours: 3, cosine: true}}").transplant;
  EXPECT_EQ(made->method, Method::nearest);
  EXPECT_EQ(made->neighbours, 3);
  EXPECT_TRUE(made->cosine);
  EXPECT_EQ(read("{source: base, transplant: {}}").transplant->neighbours, 64);
}

TEST(TokenizerSpec, RefusesTransplantsThatCannotBe) {
  const auto refused = [](const std::string& text) { return error_of([&] { read(text); }); };
  EXPECT_EQ(refused("{transplant: zero}"),
            "usage: transplant needs the tokenizer of one model (m.yml:3:25) source: base, or "
            "source: MODEL, which need not be merged");
  EXPECT_EQ(refused("{source: b, transplant: mena}"),
            "usage: there is no way 'mena' to transplant (m.yml:3:36) did you mean 'mean'?");
  EXPECT_EQ(refused("{source: b, transplant: {method: mean, cosine: true}}"),
            "usage: cosine is for the method nearest (m.yml:3:59) ");
  EXPECT_EQ(refused("{source: b, transplant: {method: zero, neighbours: 2}}"),
            "usage: neighbours are for the methods nearest and pursuit (m.yml:3:63) ");
  EXPECT_EQ(refused("{source: b, transplant: {neighbours: 1025}}"),
            "usage: neighbours are 1 to 1024 (m.yml:3:49) ");
  EXPECT_EQ(refused("{source: b, transplant: zero, tokens: {x: {}}}"),
            "usage: tokens and transplant both say where rows come from (m.yml:3:36) ");
}

}  // namespace
}  // namespace smidgen
