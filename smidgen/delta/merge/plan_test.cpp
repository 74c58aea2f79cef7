#include "smidgen/delta/merge/plan.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/plan_checks_test.h"

namespace smidgen {
namespace {

using Action = PlannedTensor::Action;

std::vector<ModelTensors> three(int64_t layers = 4) {
  return {model_of("a", layers), model_of("b", layers), model_of("c", layers)};
}
std::string refused(const std::string& text, const std::vector<ModelTensors>& models = three()) {
  return error_of([&] { planned(text, models); });
}
ModelTensors without(ModelTensors model, const std::string& tensor) {
  std::erase_if(model.tensors, [&](const SourceTensor& t) { return t.name == tensor; });
  return model;
}
SourceTensor& at(ModelTensors& model, const std::string& tensor) {
  for (SourceTensor& t : model.tensors) {
    if (t.name == tensor) return t;
  }
  throw Error(ErrorKind::not_found, tensor);
}
const std::string kLinear = "{merge_method: linear, models: [{model: a}, {model: b}], parameters: "
                            "{weight: 1}}";
const std::string kSlerp = "{merge_method: slerp, models: [{model: a}, {model: b}], base_model: a, "
                           "parameters: {t: 0.5}}";
const std::string kStock = "{merge_method: model_stock, models: [{model: b}, {model: c}], "
                           "base_model: a}";

TEST(MergePlan, ASelfMergeOfOneSlice) {
  const MergePlan plan = planned(R"(
merge_method: linear
slices:
  - sources:
      - {model: a, layer_range: [0, 2], parameters: {weight: 0.75}}
      - {model: a, layer_range: [2, 4], parameters: {weight: 0.25}}
smidgen: {seed: 5}
)",
                                 three());
  const PlannedTensor* tensor = find(plan, "model.layers.1.mlp.up_proj.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->inputs,
            (std::vector<PlannedInput>{{0, "model.layers.1.mlp.up_proj.weight"},
                                       {0, "model.layers.3.mlp.up_proj.weight"}}));
  EXPECT_EQ(tensor->task.value(0, "weight"), 0.75);
  EXPECT_EQ(tensor->task.value(1, "weight"), 0.25);
  EXPECT_EQ(tensor->task.seed, 5u);
  EXPECT_EQ(tensor->task.shape, (std::vector<int64_t>{4, 4}));
  EXPECT_EQ(tensor->task.elements, 16);
  ASSERT_EQ(plan.stacks.size(), 1u);
  EXPECT_EQ(plan.stacks[0].before, 4);
  EXPECT_EQ(plan.stacks[0].layers.size(), 2u);
}

TEST(MergePlan, TheBaseOfASelfMergeIsTheFirstThatIsIt) {
  const MergePlan plan = planned(R"(
merge_method: slerp
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 1]}, {model: a, layer_range: [3, 4]}]
parameters: {t: 0.5}
)",
                                 three());
  EXPECT_EQ(find(plan, "model.layers.0.mlp.up_proj.weight")->inputs,
            (std::vector<PlannedInput>{{0, "model.layers.3.mlp.up_proj.weight"},
                                       {0, "model.layers.0.mlp.up_proj.weight"}}));
}

TEST(MergePlan, BehindTheLayersAllInputsOfTheLastSliceCount) {
  const MergePlan plan = planned(R"(
merge_method: linear
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: b, layer_range: [2, 4]}, {model: c, layer_range: [1, 3]}]
parameters: {weight: 1}
)",
                                 three());
  EXPECT_EQ(find(plan, "model.embed_tokens.weight")->inputs.size(), 1u);
  EXPECT_EQ(find(plan, "model.norm.weight")->inputs.size(), 2u);
  EXPECT_EQ(find(plan, "model.layers.3.mlp.up_proj.weight")->inputs[1],
            (PlannedInput{2, "model.layers.2.mlp.up_proj.weight"}));
}

TEST(MergePlan, HeadsThatAreTied) {
  const MergePlan none = planned(kLinear, {model_of("a", 2, false), model_of("b", 2, false)});
  EXPECT_EQ(find(none, "lm_head.weight"), nullptr);
  EXPECT_TRUE(none.notes.empty());
  const MergePlan one = planned(kLinear, {model_of("a", 2, false), model_of("b", 2, true)});
  EXPECT_EQ(find(one, "lm_head.weight")->inputs,
            (std::vector<PlannedInput>{{0, "model.embed_tokens.weight"}, {1, "lm_head.weight"}}));
  EXPECT_TRUE(find(one, "lm_head.weight")->vocabulary);
}

TEST(MergePlan, TensorsThatOnlySomeHave) {
  const std::string norm = "model.norm.weight";
  auto models = three();
  models[1] = without(models[1], norm);
  EXPECT_EQ(refused(kLinear, models),
            "mismatch: the models do not fit together in 1 tensor: model.norm.weight is not in "
            "'b' (m.yml) ");
  MergePlan plan = planned(kSlerp, models);
  EXPECT_EQ(find(plan, norm)->action, Action::copy);
  EXPECT_EQ(find(plan, norm)->inputs, (std::vector<PlannedInput>{{0, norm}}));
  EXPECT_FALSE(find(plan, norm)->task.base);
  EXPECT_EQ(join(plan.notes),
            "copied from the one model that has them: model.norm.weight of 'a'");
  plan = planned("{merge_method: nearswap, models: [{model: b}], base_model: a, parameters: {t: "
                 "0.1}}",
                 models);
  EXPECT_EQ(find(plan, norm)->action, Action::copy);
  EXPECT_NE(refused("{merge_method: nearswap, models: [{model: a}], base_model: b, parameters: {t: "
                    "0.1}}",
                    models)
                .find("is not in 'b'"),
            std::string::npos)
      << "nearswap copies a base only";
  EXPECT_EQ(find(planned(kStock, models), norm), nullptr) << "the base and one other";
  models[2] = without(models[2], norm);
  EXPECT_EQ(find(planned(kStock, models), norm)->action, Action::copy) << "the base alone";
}

TEST(MergePlan, AMergeOfThoseThatHaveIt) {
  auto models = three();
  models.push_back(without(model_of("d", 4), "model.norm.weight"));
  const MergePlan plan = planned("{merge_method: model_stock, models: [{model: b}, {model: d}, "
                                 "{model: c}], base_model: a}",
                                 models);
  const PlannedTensor* norm = find(plan, "model.norm.weight");
  EXPECT_EQ(norm->task.inputs, 2u);
  EXPECT_TRUE(norm->task.base);
  EXPECT_EQ(norm->inputs.size(), 3u);
}

TEST(MergePlan, BuffersMadeAnewAreLeftOut) {
  auto models = three();
  const std::string buffer = "model.layers.0.self_attn.rotary_emb.inv_freq";
  models[1].tensors.push_back(tensor_of(buffer, {2}));
  const MergePlan plan = planned(kLinear, models);
  EXPECT_EQ(find(plan, buffer), nullptr);
  EXPECT_EQ(join(plan.notes), str("left out, since not all inputs have them: ", buffer));
}

TEST(MergePlan, WhatIsNotNumbersMustBeEqual) {
  auto models = three();
  for (ModelTensors& model : models) at(model, "model.norm.weight").stored = Format::i64;
  EXPECT_EQ(find(planned(kLinear, models), "model.norm.weight")->action, Action::copy_if_equal);
  at(models[1], "model.norm.weight").stored = Format::f32;
  EXPECT_NE(refused(kLinear, models)
                .find("model.norm.weight is stored as i64 in 'a' and as f32 in 'b'"),
            std::string::npos);
  at(models[1], "model.norm.weight").stored = at(models[0], "model.norm.weight").stored =
      Format::f8_e8m0;
  EXPECT_NE(refused(kLinear, models).find("cannot be read as numbers"), std::string::npos);
}

TEST(MergePlan, MismatchesAreNamedTogether) {
  auto models = three();
  at(models[1], "model.layers.2.mlp.up_proj.weight").shape = {4, 5};
  models[0] = without(models[0], "model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(refused(kLinear, models),
            "mismatch: the models do not fit together in 2 tensors: "
            "model.layers.1.mlp.up_proj.weight is not in 'a'; model.layers.2.mlp.up_proj.weight "
            "has the shape [4, 4] in 'a' and [4, 5] in 'b' (m.yml) ");
}

TEST(MergePlan, VocabulariesMayDifferWithATokenizer) {
  auto models = three();
  at(models[1], "model.embed_tokens.weight").shape = {9, 4};
  at(models[1], "lm_head.weight").shape = {9, 4};
  EXPECT_EQ(refused(kLinear, models),
            "mismatch: the models do not fit together in 2 tensors: model.embed_tokens.weight has "
            "the shape [8, 4] in 'a' and [9, 4] in 'b'; lm_head.weight has the shape [8, 4] in 'a' "
            "and [9, 4] in 'b' (m.yml) their vocabularies differ: tokenizer: {source: union} "
            "brings them together");
  const std::string with = kLinear.substr(0, kLinear.size() - 1) + ", tokenizer_source: union}";
  EXPECT_TRUE(find(planned(with, models), "lm_head.weight")->vocabulary);
  at(models[1], "lm_head.weight").shape = {9, 5};
  EXPECT_NE(refused(with, models).find("lm_head.weight has the shape"), std::string::npos);
}

TEST(MergePlan, InputsAreCounted) {
  EXPECT_EQ(refused("{merge_method: slerp, models: [{model: a}, {model: b}, {model: c}], "
                    "base_model: a, parameters: {t: 0}}"),
            "usage: slerp takes exactly 1 model beside the base, and here are 2 (m.yml:1:1) ");
  EXPECT_EQ(refused("{merge_method: model_stock, models: [{model: b}], base_model: a}"),
            "usage: model_stock takes at least 2 models beside the base, and here are 1 "
            "(m.yml:1:1) ");
  EXPECT_EQ(refused("{merge_method: passthrough, models: [{model: a}, {model: b}]}"),
            "usage: passthrough takes exactly 1 model, and here are 2 (m.yml:1:1) ");
  EXPECT_EQ(refused("{merge_method: ties, models: [{model: a}]}"),
            "usage: ties needs [base_model] (m.yml:1:16) ");
  const MergePlan plan = planned("{merge_method: nuslerp, models: [{model: a}, {model: b}], "
                                 "parameters: {weight: 1}}",
                                 three());
  EXPECT_FALSE(plan.tensors.front().task.base) << "an optional base";
}

TEST(MergePlan, SlicesListTheirBaseAndStayInside) {
  const std::string slice = "slices: [{sources: [{model: b, layer_range: [0, ";
  EXPECT_EQ(refused(str("merge_method: ties\nbase_model: a\n", slice, "2]}]}]\nparameters: "
                                                                       "{weight: 1}")),
            "usage: base_model 'a' is not a source of this slice (m.yml:3:10) a slice lists every "
            "model that it is made of, the base too");
  EXPECT_EQ(refused(str("merge_method: passthrough\n", slice, "5]}]}]")),
            "usage: layer_range ends at 5, and 'b' has 4 layers under model.layers (m.yml:2:21) ");
  EXPECT_EQ(refused(kLinear, {model_of("a", 4), model_of("b", 3)}),
            "mismatch: the models have different numbers of layers under model.layers: 4 in 'a' "
            "and 3 in 'b' (m.yml:1:45) slices choose layers of each");
}

TEST(MergePlan, MissingValuesNameParameterTensorAndModel) {
  EXPECT_EQ(refused("{merge_method: linear, models: [{model: a, parameters: {weight: 1}}, {model: "
                    "b}]}"),
            "usage: linear needs weight, and the recipe has none for model.embed_tokens.weight of "
            "'b' (m.yml:1:70) write it under parameters of the model's entry or of the recipe");
  EXPECT_EQ(refused("{merge_method: linear, models: [{model: a, parameters: {weight: 1}}], "
                    "base_model: b}"),
            "usage: linear needs weight, and the recipe has none for model.embed_tokens.weight of "
            "'b' (m.yml:1:83) base_model is an input of linear like any other; give it an entry in "
            "models, or leave it out");
  EXPECT_EQ(refused("{merge_method: slerp, models: [{model: a}, {model: b}], base_model: a}"),
            "usage: slerp needs t, and the recipe has none for model.embed_tokens.weight "
            "(m.yml:1:1) write it under parameters of the recipe");
  EXPECT_EQ(refused("{merge_method: slerp, models: [{model: a}, {model: b, parameters: {t: 1}}], "
                    "base_model: a}"),
            "usage: slerp needs t, and the recipe has none for model.embed_tokens.weight "
            "(m.yml:1:1) it is one value for all inputs, and is not looked for in the entry of one "
            "model; write it under parameters of the slice or of the recipe");
  EXPECT_EQ(refused("{merge_method: slerp, models: [{model: a}, {model: b}], base_model: a, "
                    "parameters: {t: {filter: mlp, value: 1}}}"),
            "usage: slerp needs t, and the recipe has none for model.embed_tokens.weight "
            "(m.yml:1:1) none of its filters fits that name; an entry without a filter fits every "
            "name");
}

TEST(MergePlan, NamesOfMethodsAndParameters) {
  EXPECT_EQ(refused("{merge_method: slrep, models: [{model: a}]}"),
            "usage: there is no merge method 'slrep' (m.yml:1:16) did you mean 'slerp' or "
            "'nuslerp'?");
  EXPECT_EQ(refused("{merge_method: linear, models: [{model: a, parameters: {weigth: 1}}]}"),
            "usage: the method has no parameter 'weigth' (m.yml:1:57) did you mean 'weight'?");
  const MergePlan plan = planned(
      "{merge_method: linear, author: me, models: [{model: a}], parameters: {weight: 1, density: "
      "0.5, embed_slerp: true}}",
      three());
  EXPECT_EQ(join(plan.notes),
            "without effect, as in mergekit: author (m.yml:1:24), density (m.yml:1:83), "
            "embed_slerp (m.yml:1:97)");
}

TEST(MergePlan, ManyProblemsAreCounted) {
  std::vector<ModelTensors> models = {model_of("a", 40), model_of("b", 40)};
  for (SourceTensor& tensor : models[1].tensors) tensor.shape.push_back(2);
  const std::string error = refused(kLinear, models);
  EXPECT_NE(error.find("do not fit together in 163 tensors"), std::string::npos) << error;
  EXPECT_NE(error.find("(155 more)"), std::string::npos) << error;
}

}  // namespace
}  // namespace smidgen
