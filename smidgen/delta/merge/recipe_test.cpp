#include "smidgen/delta/merge/recipe.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

MergeRecipe read(const std::string& text, bool strict = false) {
  return parse_merge_recipes(text, "m.yml", strict).at(0);
}
std::string refused(const std::string& text, bool strict = false) {
  return error_of([&] { parse_merge_recipes(text, "m.yml", strict); });
}
// A document that is whole but for `more`.
std::string linear(const std::string& more) {
  return str("merge_method: linear\nmodels: [{model: a}]\n", more);
}

TEST(MergeRecipe, WholeModels) {
  const MergeRecipe r = read(R"(
merge_method: ties
base_model: ./north/
models:
  - model: north
  - model: south+adapters/x
    parameters: {weight: 0.5}
parameters: {density: [0.2, 0.8]}
dtype: torch.float32
out_dtype: bfloat16
chat_template: auto
)");
  EXPECT_EQ(r.method, "ties");
  EXPECT_EQ(r.base->text(), "./north");
  ASSERT_EQ(r.body.models.size(), 2u);
  EXPECT_EQ(r.body.models[1].model.path, "south");
  EXPECT_EQ(r.body.models[1].model.adapter, "adapters/x");
  EXPECT_EQ(r.body.models[1].parameters.at(0).name, "weight");
  EXPECT_EQ(r.parameters.at(0).value.choices.at(0).points.size(), 2u);
  EXPECT_EQ(r.dtype, Format::f32);
  EXPECT_EQ(r.out_dtype, Format::bf16);
  EXPECT_EQ(r.chat_template, "auto");
  EXPECT_FALSE(r.as_mergekit);
  std::vector<std::string> names;
  for (const ModelRef& model : models_of(r)) names.push_back(model.text());
  EXPECT_EQ(join(names), "north, south+adapters/x, ./north");
}

TEST(MergeRecipe, SlicesAndModules) {
  const MergeRecipe r = read(R"(
merge_method: slerp
modules:
  text_decoder:
    slices:
      - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [2, 4]}]
        base_model: b
        residual_weight: 0.5
        parameters: {t: 0.5}
  vision_tower:
    models: [{model: a}, {model: b}]
    parameters: {t: 0}
base_model: a
)");
  ASSERT_EQ(r.modules.size(), 2u);
  EXPECT_EQ(r.modules[0].name, "text_decoder");
  EXPECT_EQ(r.modules[0].slices.at(0).sources.at(1).begin, 2);
  EXPECT_EQ(r.modules[0].slices.at(0).sources.at(1).end, 4);
  EXPECT_EQ(r.modules[0].slices.at(0).base->text(), "b");
  EXPECT_EQ(r.modules[1].models.size(), 2u);
  EXPECT_EQ(join(r.ignored), "residual_weight (m.yml:8:26)");
  EXPECT_EQ(ignored_note(r.ignored),
            "without effect, as in mergekit: residual_weight (m.yml:8:26)");
}

TEST(MergeRecipe, ModelsAsMaps) {
  const MergeRecipe r =
      read("{merge_method: linear, models: [{model: {model: {path: 'a@b+c'}, lora: d}}]}");
  EXPECT_EQ(r.body.models.at(0).model.path, "a@b+c");
  EXPECT_EQ(r.body.models.at(0).model.adapter, "d");
  EXPECT_EQ(join(read(linear("base_model: {model: a, override_architecture: X}")).ignored),
            "override_architecture (m.yml:3:24)");
}

TEST(MergeRecipe, TheTokenizer) {
  EXPECT_EQ(read(linear("tokenizer_source: base")).tokenizer->source,
            MergedTokenizer::Source::base);
  EXPECT_EQ(read(linear("tokenizer_source: south")).tokenizer->model->text(), "south");
  const MergeRecipe r = read(linear(R"(
tokenizer:
  tokens:
    <|a|>: {source: south, force: true}
    <|b|>: {source: {kind: zero}}
    <|c|>: {source: {kind: model_token, model: west, token: "<x>"}}
    <|d|>: {source: {kind: model_token, model: west, token_id: 7}}
    <|e|>: {}
  pad_to_multiple_of: 64
)"));
  using From = MergedTokenizer::Token::From;
  const MergedTokenizer& spec = *r.tokenizer;
  EXPECT_EQ(spec.source, MergedTokenizer::Source::union_of_all);
  EXPECT_EQ(spec.pad_to_multiple_of, 64);
  ASSERT_EQ(spec.tokens.size(), 5u);
  EXPECT_EQ(spec.tokens[0].from, From::same_token);
  EXPECT_EQ(spec.tokens[0].model->text(), "south");
  EXPECT_TRUE(spec.tokens[0].force);
  EXPECT_EQ(spec.tokens[1].from, From::zero);
  EXPECT_EQ(spec.tokens[2].other, "<x>");
  EXPECT_EQ(spec.tokens[3].from, From::other_token);
  EXPECT_EQ(spec.tokens[3].other_id, 7);
  EXPECT_EQ(spec.tokens[4].from, From::automatic);
}

TEST(MergeRecipe, MergeKeys) {
  const MergeRecipe r = read(R"(
_shared: &shared {weight: 1, density: 0.5}
merge_method: ties
models:
  - model: a
    parameters: {<<: *shared, weight: 2}
  - model: b
    parameters: {<<: [*shared, {gamma: 3, weight: 4}]}
)");
  const auto names = [&](size_t i) {
    std::vector<std::string> all;
    for (const MergeParameter& p : r.body.models.at(i).parameters)
      all.push_back(str(p.name, "=", p.value.choices.at(0).points.at(0).text));
    return join(all);
  };
  EXPECT_EQ(names(0), "weight=2, density=0.5");
  EXPECT_EQ(names(1), "weight=1, density=0.5, gamma=3");
  EXPECT_EQ(refused("<<: 3"), "usage: [<<] takes the keys of a map, and this is none (m.yml:1:5) ");
}

TEST(MergeRecipe, OurOwnKeys) {
  const MergeRecipe r = read(linear("smidgen: {compat: mergekit, seed: 7, strict: yes}"));
  EXPECT_TRUE(r.as_mergekit);
  EXPECT_TRUE(r.strict);
  EXPECT_EQ(r.seed, 7u);
  EXPECT_EQ(refused(linear("smidgen: {compat: other}")),
            "usage: compat is 'other' (m.yml:3:19) known: mergekit");
  EXPECT_EQ(refused(linear("smidgen: {seed: -1}")), "usage: seed is negative (m.yml:3:17) ");
  EXPECT_EQ(refused(linear("smidgen: {seeds: 1}")),
            "usage: [seeds] is not a key of smidgen (m.yml:3:11) did you mean 'seed'?");
}

TEST(MergeRecipe, UnknownKeysAreNamedAndMisspeltOnesRefused) {
  EXPECT_EQ(join(read(linear("author: me\n_anchors: {x: 1}")).ignored),
            "author (m.yml:3:1), _anchors (m.yml:4:1)");
  EXPECT_EQ(refused(linear("author: me"), true),
            "usage: [author] has no effect in a merge recipe (m.yml:3:1) remove it, or do without "
            "strict");
  EXPECT_EQ(refused(linear("author: me\nsmidgen: {strict: true}")),
            "usage: [author] has no effect in a merge recipe (m.yml:3:1) remove it, or do without "
            "strict");
  EXPECT_EQ(refused(linear("base_modle: b")),
            "usage: [base_modle] is not a key of a merge recipe (m.yml:3:1) did you mean "
            "'base_model'?");
  EXPECT_EQ(refused("{merge_method: linear, models: [{model: a, paramters: {}}]}"),
            "usage: [paramters] is not a key of an entry of models (m.yml:1:44) did you mean "
            "'parameters'?");
}

TEST(MergeRecipe, RefusesWhatItCannotMean) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "usage: the file holds no merge recipe (m.yml) "},
      {"[1]", "usage: not a map of keys (m.yml:1:1) a merge recipe has the key merge_method"},
      {"models: [{model: a}]", "usage: a merge recipe needs [merge_method] (m.yml:1:1) "},
      {"merge_method: linear",
       "usage: a merge recipe needs exactly one of [models], [slices] and [modules] (m.yml:1:1) "},
      {linear("slices: [{sources: [{model: a, layer_range: [0, 1]}]}]"),
       "usage: a merge recipe needs exactly one of [models], [slices] and [modules] (m.yml:1:1) "},
      {"{merge_method: linear, models: a}", "usage: models is not a list (m.yml:1:32) "},
      {"{merge_method: linear, models: [a]}",
       "usage: an entry of models is not a map (m.yml:1:33) its keys: model, parameters, "
       "statistics"},
      {"{merge_method: linear, models: [{parameters: {}}]}",
       "usage: an entry of models needs [model] (m.yml:1:33) "},
      {"{merge_method: linear, slices: [{sources: []}]}",
       "usage: a slice without sources (m.yml:1:43) "},
      {"{merge_method: linear, slices: [{}]}", "usage: a slice needs [sources] (m.yml:1:33) "},
      {"{merge_method: linear, slices: [{sources: [{model: a}]}]}",
       "usage: a source needs [layer_range] (m.yml:1:44) "},
      {"{merge_method: linear, slices: [{sources: [{model: a, layer_range: [1]}]}]}",
       "usage: layer_range is not a pair (m.yml:1:68) [first, behind the last]"},
      {"{merge_method: linear, slices: [{sources: [{model: a, layer_range: [2, 2]}]}]}",
       "usage: layer_range [2, 2] is empty (m.yml:1:68) [first, behind the last], counted from 0"},
      {"{merge_method: linear, slices: [{sources: [{model: a, layer_range: [-1, 2]}]}]}",
       "usage: layer_range [-1, 2] is empty (m.yml:1:68) [first, behind the last], counted from "
       "0"},
      {"{merge_method: linear, slices: [{sources: [{model: a, layer_range: [0, 1.5]}]}]}",
       "usage: a layer number is not a whole number (m.yml:1:72) "},
      {"{merge_method: linear, slices: [{sources: [{model: a, layer_range: [0, 2]}, {model: b, "
       "layer_range: [0, 3]}]}]}",
       "usage: the sources of a slice have different numbers of layers: 2 of 'a' and 3 of 'b' "
       "(m.yml:1:77) "},
      {"{merge_method: linear, modules: {x: {}}}",
       "usage: the module 'x' needs either [models] or [slices] (m.yml:1:37) "},
      {linear("dtype: float8"),
       "usage: dtype is 'float8', which is not a type of weights (m.yml:3:8) did you mean "
       "'float16' or 'float32' or 'float64'?"},
      {linear("tokenizer_source: base\ntokenizer: {source: base}"),
       "usage: [tokenizer_source] and [tokenizer] exclude each other (m.yml:4:12) "},
      {linear("tokenizer: {pad_to_multiple_of: 0}"),
       "usage: pad_to_multiple_of is not positive (m.yml:3:33) "},
      {linear("tokenizer: {tokens: {a: {source: {kind: one}}}}"),
       "usage: there is no kind of source 'one' (m.yml:3:41) known: zero, model_token"},
      {linear("tokenizer: {tokens: {a: {source: {kind: model_token, model: b}}}}"),
       "usage: a source needs exactly one of [token] and [token_id] (m.yml:3:34) "},
      {linear("tokenizer: {tokens: {a: {source: {kind: model_token, model: b, token_id: -4}}}}"),
       "usage: token_id is negative (m.yml:3:74) "},
      {linear("chat_template: [a]"), "usage: chat_template is not text (m.yml:3:16) "},
      {linear("base_model: x@main"),
       "unsupported: 'x' is a folder or a file, which has no revision 'main' (m.yml:3:13) download "
       "that revision and name its folder; a path that holds @ is written as {model: {path: "
       "...}}"},
      {linear("base_model: {model: {path: x, revision: v2}}"),
       "unsupported: 'x' is a folder or a file, which has no revision 'v2' (m.yml:3:41) download "
       "that revision and name its folder; a path that holds @ is written as {model: {path: "
       "...}}"},
      {linear("base_model: x@a@b"), "usage: more than one @ in 'x@a@b' (m.yml:3:13) "},
      {linear("base_model: x+a+b"),
       "usage: more than one + in 'x+a+b' (m.yml:3:13) a recipe puts one adapter on a model; merge "
       "the others in a document of their own"},
      {linear("base_model: x+"), "usage: a model without a path (m.yml:3:13) "},
      {linear("base_model: {lora: x}"), "usage: a model needs [model] (m.yml:3:13) "},
      {linear("parameters: 3"), "usage: parameters is not a map (m.yml:3:13) "},
  };
  for (const auto& [text, error] : cases) EXPECT_EQ(refused(text), error) << text;
}

TEST(MergeRecipe, DocumentsRunInTheOrderOfTheirNames) {
  const std::string one = "{merge_method: linear, models: [{model: ";
  const auto order = [&](const std::string& text) {
    std::vector<size_t> order;
    const std::string error =
        error_of([&] { order = stage_order(parse_merge_recipes(text, "m.yml")); });
    return error == "no error" ? join(order) : error;
  };
  EXPECT_EQ(order(str(one, "x}]}\n")), "0");
  EXPECT_EQ(
      order(str("---\n", one, "b}]}\n---\n", one, "c}], name: b}\n---\n", one, "d}], name: c}\n")),
      "2, 1, 0");
  EXPECT_EQ(order(str(one, "b}], name: a}\n---\n", one, "a}], name: b}\n")),
            "usage: the documents depend on each other in a circle through 'a' (m.yml:3:41) ");
  EXPECT_EQ(order(str(one, "x}], name: a}\n---\n", one, "x}], name: a}\n")),
            "usage: two documents have the name 'a' (m.yml:3:1) ");
  EXPECT_EQ(order(str(one, "x}]}\n---\n", one, "x}]}\n")),
            "usage: two documents have no name (m.yml:3:1) one document may lack it: the one whose "
            "result is kept");
  EXPECT_EQ(order(str(one, "b}], tokenizer_source: t}\n---\n", one, "x}], name: t}\n")), "1, 0");
  EXPECT_NE(order(str(one, "x}]}\n---\n")).find("an empty document"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
