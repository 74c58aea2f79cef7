#include "smidgen/delta/merge/layers.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/layer_config.h"
#include "smidgen/delta/merge/modules.h"

namespace smidgen {
namespace {

std::string described(const char* tensor) {
  const auto name = layer_name(tensor);
  return name ? str(name->prefix, "|", name->layer, "|", name->rest) : "none";
}

TEST(MergeLayers, TheFirstNumberBetweenDotsIsTheLayer) {
  EXPECT_EQ(described("model.layers.17.mlp.experts.3.w1.weight"),
            "model.layers|17|mlp.experts.3.w1.weight");
  EXPECT_EQ(described("transformer.h.0.attn.bias"), "transformer.h|0|attn.bias");
  EXPECT_EQ(described("model.norm.weight"), "none");
  EXPECT_EQ(described("prompt.3"), "none") << "nothing behind it";
  EXPECT_EQ(described("a.007.w"), "none") << "would come back as a.7.w";
  EXPECT_EQ(described("a.99999999999999999999.w"), "none");
  EXPECT_EQ(described(".0.w"), "none");
  EXPECT_EQ(described("a..0.w"), "a.|0|w");
  EXPECT_EQ(layer_name("h.3.w")->in_layer(12), "h.12.w");
}

std::vector<std::string> names(const std::string& prefix, int64_t layers, int64_t each) {
  std::vector<std::string> all;
  for (int64_t i = 0; i < layers; ++i) {
    for (int64_t k = 0; k < each; ++k)
      all.push_back(str(prefix, ".", i, ".part", static_cast<char>('a' + k), ".weight"));
  }
  return all;
}

TEST(MergeLayers, StacksAreLargeAndWithoutGaps) {
  std::vector<std::string> tensors = names("model.layers", 4, 9);
  const auto add = [&](const std::vector<std::string>& more) {
    tensors.insert(tensors.end(), more.begin(), more.end());
  };
  const auto prefixes = [&] {
    std::vector<std::string> found;
    for (const LayerStack& stack : layer_stacks(tensors))
      found.push_back(str(stack.prefix, ":", stack.layers));
    return join(found);
  };
  add(names("extractor.conv_layers", 7, 4));
  add({"merger.mlp.0.weight", "merger.mlp.2.weight"});
  EXPECT_EQ(prefixes(), "model.layers:4");
  add(names("vision.blocks", 2, 6));
  EXPECT_EQ(prefixes(), "model.layers:4, vision.blocks:2");
  tensors = {"net.0.weight", "net.2.weight"};
  EXPECT_EQ(prefixes(), "net:3") << "the largest, even with a gap";
  tensors.clear();
  EXPECT_EQ(prefixes(), "");
}

TEST(MergeLayers, WhatLiesBeforeTheLayers) {
  for (const char* name : {"model.embed_tokens.weight", "transformer.wte.weight",
                           "transformer.wpe.weight", "shared.weight", "bert.embeddings.LayerNorm.bias",
                           "vision_model.embeddings.patch_embedding.weight", "model.encoder.conv1.bias"})
    EXPECT_TRUE(is_before_layers(name)) << name;
  for (const char* name : {"model.norm.weight", "lm_head.weight", "transformer.ln_f.bias",
                           "embed_out.weight", "score.weight", "vocab_projector.weight"})
    EXPECT_FALSE(is_before_layers(name)) << name;
}

TEST(MergeLayers, TiedNames) {
  const auto has = [](const char* tensor, const char* name) {
    const auto all = tied_names(tensor);
    return std::find(all.begin(), all.end(), name) != all.end();
  };
  EXPECT_TRUE(has("lm_head.weight", "model.embed_tokens.weight"));
  EXPECT_TRUE(has("lm_head.weight", "transformer.wte.weight"));
  EXPECT_TRUE(has("lm_head.weight", "shared.weight"));
  EXPECT_TRUE(has("language_model.lm_head.weight", "language_model.model.embed_tokens.weight"));
  EXPECT_FALSE(has("language_model.lm_head.weight", "model.embed_tokens.weight"));
  EXPECT_TRUE(has("decoder.embed_tokens.weight", "shared.weight"));
  EXPECT_TRUE(tied_names("model.norm.weight").empty());
  EXPECT_TRUE(tied_names("bert.encoder.layer.0.output.weight").empty());
  EXPECT_TRUE(has("output.weight", "model.tok_embeddings.weight"));
  EXPECT_TRUE(tied_names("projector.output.weight").empty());
  EXPECT_TRUE(is_vocabulary("lm_head.weight"));
  EXPECT_TRUE(is_vocabulary("model.embed_tokens.weight"));
  EXPECT_FALSE(is_vocabulary("model.embed_positions.weight"));
  EXPECT_TRUE(is_recomputed("model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(is_recomputed("model.layers.0.self_attn.q_proj.bias"));
}

std::string parts_of(const std::string& text, const std::vector<std::string>& tensors) {
  const MergeRecipe recipe = parse_merge_recipes(text, "m.yml").at(0);
  std::vector<std::string> parts;
  for (const ModelPart& part : model_parts(recipe, tensors)) {
    std::vector<std::string> stacks;
    for (const LayerStack& stack : part.stacks) stacks.push_back(stack.prefix);
    parts.push_back(str(part.spec->name, "{", join(stacks), "; ", join(part.loose), "}"));
  }
  return join(parts, " ");
}

std::vector<std::string> vision_model() {
  std::vector<std::string> tensors = names("language_model.model.layers", 4, 9);
  for (const auto& more :
       {names("vision_tower.encoder.layers", 3, 6),
        std::vector<std::string>{"language_model.model.embed_tokens.weight",
                                 "vision_tower.ln_pre.weight", "multi_modal_projector.norm.weight",
                                 "extra.weight"}})
    tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

TEST(MergeModules, OwnTheirTensors) {
  EXPECT_EQ(parts_of("{merge_method: linear, models: [{model: a}]}", {"x.weight"}),
            "{; x.weight}");
  EXPECT_EQ(parts_of(R"(
merge_method: linear
modules:
  text_decoder: {slices: [{sources: [{model: a, layer_range: [0, 1]}]}]}
  vision_tower: {models: [{model: a}]}
  multi_modal_projector: {models: [{model: a}]}
)",
                     vision_model()),
            "text_decoder{language_model.model.layers; language_model.model.embed_tokens.weight, "
            "extra.weight} vision_tower{vision_tower.encoder.layers; vision_tower.ln_pre.weight} "
            "multi_modal_projector{; multi_modal_projector.norm.weight}");
}

TEST(MergeModules, RefusesWhatDoesNotFit) {
  const auto refused = [](const std::string& text, const std::vector<std::string>& tensors) {
    return error_of([&] { parts_of(text, tensors); });
  };
  const std::string slices = "slices: [{sources: [{model: a, layer_range: [0, 1]}]}]";
  EXPECT_EQ(refused(str("merge_method: linear\n", slices), vision_model()),
            "usage: slices need one stack of layers, and the model has 2: "
            "language_model.model.layers, vision_tower.encoder.layers (m.yml:1:1) name its parts "
            "under modules, each with its slices or models");
  EXPECT_EQ(refused(str("merge_method: linear\n", slices), {"x.weight"}),
            "usage: slices need numbered layers, and the model has none (m.yml:1:1) name its parts "
            "under modules, each with its slices or models");
  EXPECT_EQ(refused("merge_method: linear\nmodules:\n  visoin_tower: {models: [{model: a}]}",
                    vision_model()),
            "usage: the model has no module 'visoin_tower' (m.yml:3:17) did you mean "
            "'vision_tower'?");
  EXPECT_EQ(refused("merge_method: linear\nmodules:\n  vision_tower: {models: [{model: a}]}\n  "
                    "language_model: {models: [{model: a}]}",
                    vision_model()),
            "usage: 2 tensors of the model belong to no module of the recipe: "
            "multi_modal_projector.norm.weight, extra.weight (m.yml:1:1) a module 'default' takes "
            "what no other has");
  EXPECT_EQ(refused(str("merge_method: linear\nmodules:\n  multi_modal_projector: {", slices,
                        "}\n  text_decoder: {models: [{model: a}]}"),
                    vision_model()),
            "usage: slices need numbered layers, and the module 'multi_modal_projector' has none "
            "(m.yml:3:26) give it models");
}

PlannedStack stack_of(const std::string& prefix, int64_t before, std::vector<int64_t> layers) {
  PlannedStack stack{.prefix = prefix, .before = before};
  for (const int64_t layer : layers) stack.layers.push_back({0, layer});
  return stack;
}

TEST(MergeLayerConfig, CountsAndLists) {
  const auto set = [](const std::string& config, const PlannedStack& stack) {
    Json json = Json::parse(config);
    const std::string error = error_of([&] { set_layers(json, stack, "config.json"); });
    return error == "no error" ? json.dump() : error;
  };
  const std::string kept = R"({"num_hidden_layers":3,"layer_types":["a","b","c"]})";
  EXPECT_EQ(set(kept, stack_of("model.layers", 3, {0, 1, 2})), kept);
  EXPECT_EQ(set(R"({"num_hidden_layers":3,"n_head":3,"layer_types":["a","b","c"],"mlp_only_layers":[1]})",
                stack_of("model.layers", 3, {0, 1, 1, 2})),
            R"({"num_hidden_layers":4,"n_head":3,"layer_types":["a","b","b","c"],"mlp_only_layers":[1,2]})");
  EXPECT_EQ(set(R"({"text_config":{"num_hidden_layers":3},"vision_config":{"num_hidden_layers":3}})",
                stack_of("language_model.model.layers", 3, {0})),
            R"({"text_config":{"num_hidden_layers":1},"vision_config":{"num_hidden_layers":3}})");
  EXPECT_EQ(set(R"({"text_config":{"num_hidden_layers":3},"vision_config":{"depth":3}})",
                stack_of("visual.blocks", 3, {0})),
            R"({"text_config":{"num_hidden_layers":3},"vision_config":{"depth":1}})");
  EXPECT_EQ(set(R"({"num_layers":3,"num_decoder_layers":3})", stack_of("decoder.block", 3, {0})),
            R"({"num_layers":3,"num_decoder_layers":1})");
  EXPECT_EQ(set(R"({"num_layers":3,"num_decoder_layers":3})", stack_of("encoder.block", 3, {0})),
            R"({"num_layers":1,"num_decoder_layers":3})");
  EXPECT_EQ(set(R"({"num_hidden_layers":3})", stack_of("bert.encoder.layer", 3, {2, 1, 0, 0})),
            R"({"num_hidden_layers":4})");
  EXPECT_EQ(set(R"({"n_layer":4})", stack_of("h", 3, {0})).substr(0, 65),
            "mismatch: no key counts the 3 layers under h (config.json) the re");
}

}  // namespace
}  // namespace smidgen
