#include "smidgen/delta/merge/moe_recipe.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {

namespace {

using Kind = YamlNode::Kind;

constexpr std::pair<const char*, GateMode> kModes[] = {
    {"hidden", GateMode::hidden_last},     {"hidden_last", GateMode::hidden_last},
    {"hidden_avg", GateMode::hidden_mean}, {"cheap_embed", GateMode::embeddings},
    {"random", GateMode::normal},          {"uniform_random", GateMode::uniform}};

GateMode read_mode(const YamlNode& node, const RecipeReading& reading) {
  const std::string name = text_of(node, reading, "gate_mode");
  std::vector<std::string> known;
  for (const auto& [word, mode] : kModes) {
    if (name == word) return mode;
    known.emplace_back(word);
  }
  bad_value(node, reading, str("there is no gate_mode '", name, "'"),
            did_you_mean(name, known, str("known: ", join(known))));
}

double read_number(const RecipeMap& map, const char* key, double otherwise) {
  const YamlNode* node = map.find(key);
  if (!node) return otherwise;
  const std::string place = node->place(map.reading().file);
  const auto number = number_in(text_of(*node, map.reading(), key), place);
  if (!number) bad_value(*node, map.reading(), str(key, " is not a number"));
  return *number;
}

std::vector<std::string> read_prompts(const RecipeMap& map, const char* key) {
  std::vector<std::string> prompts;
  const YamlNode* node = map.find(key);
  if (!node) return prompts;
  for (const YamlNode& item : list_of(*node, map.reading(), key))
    prompts.push_back(text_of(item, map.reading(), "a prompt"));
  return prompts;
}

ExpertSpec read_expert(const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(
      node, "an expert",
      {"source_model", "positive_prompts", "negative_prompts", "noise_scale", "residual_scale"},
      reading);
  return {.model = read_model_ref(map.need("source_model"), reading),
          .positive = read_prompts(map, "positive_prompts"),
          .negative = read_prompts(map, "negative_prompts"),
          .noise = read_number(map, "noise_scale", 0),
          .scale = read_number(map, "residual_scale", 1),
          .place = map.place()};
}

// `strict` and `seed` of the map that mergekit ignores.
void read_extension(MoeRecipe& recipe, const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "smidgen", {"seed", "strict"}, reading);
  if (const YamlNode* seed = map.find("seed")) {
    const int64_t number = whole_of(*seed, reading, "seed");
    if (number < 0) bad_value(*seed, reading, "seed is negative");
    recipe.seed = static_cast<uint64_t>(number);
  }
  if (const YamlNode* strict = map.find("strict"))
    reading.strict = flag_of(*strict, reading, "strict") || reading.strict;
}

void check_experts(const MoeRecipe& recipe, const YamlNode& list, const RecipeReading& reading) {
  const std::vector<ExpertSpec>& experts = recipe.experts;
  if (experts.empty()) bad_value(list, reading, "a mixture without experts");
  if (recipe.used < 1 || recipe.used > static_cast<int64_t>(experts.size()))
    bad_value(list, reading,
              str("a token cannot use ", recipe.used, " of ", counted(experts.size(), "expert")),
              "experts_per_token is 2 where the recipe does not say it");
  if (!recipe.prompted()) return;
  for (const ExpertSpec& expert : experts) {
    if (!expert.positive.empty()) continue;
    throw Error(ErrorKind::usage, "an expert without [positive_prompts]", expert.place,
                "the router is made of them; gate_mode: random and uniform_random need none");
  }
  const auto as_first = [&](const ExpertSpec& expert) {
    return expert.positive == experts[0].positive && expert.negative == experts[0].negative;
  };
  if (experts.size() > 1 && std::all_of(experts.begin(), experts.end(), as_first))
    bad_value(list, reading, "all experts have the same prompts",
              "the router could not tell them apart: give each what it is for");
}

MoeRecipe read_document(const YamlNode& node, const std::string& file, bool strict) {
  MoeRecipe recipe{.file = file};
  RecipeReading reading{.file = file, .strict = strict};
  for (const auto& [key, value] : node.entries) {
    if (key.text == "smidgen" && value.kind != Kind::null) read_extension(recipe, value, reading);
  }
  const RecipeMap map(node, "a recipe of experts",
                      {"base_model", "experts", "gate_mode", "dtype", "experts_per_token",
                       "shared_experts", "architecture", "smidgen"},
                      reading);
  recipe.base = read_model_ref(map.need("base_model"), reading);
  const YamlNode& experts = map.need("experts");
  for (const YamlNode& item : list_of(experts, reading, "experts"))
    recipe.experts.push_back(read_expert(item, reading));
  if (const YamlNode* mode = map.find("gate_mode")) recipe.gates = read_mode(*mode, reading);
  if (const YamlNode* used = map.find("experts_per_token"))
    recipe.used = whole_of(*used, reading, "experts_per_token");
  recipe.dtype = read_dtype(map, "dtype");
  if (const YamlNode* name = map.find("architecture"))
    recipe.architecture = text_of(*name, reading, "architecture");
  if (const YamlNode* shared = map.find("shared_experts");
      shared && !list_of(*shared, reading, "shared_experts").empty())
    throw Error(ErrorKind::unsupported,
                "shared experts belong to Qwen2-MoE and DeepSeek-MoE, which no family here reads",
                shared->place(file), "without them: Mixtral, or Qwen3-MoE");
  check_experts(recipe, experts, reading);
  recipe.ignored = std::move(reading.ignored);
  return recipe;
}

bool has_experts(const YamlNode& node) {
  return std::any_of(node.entries.begin(), node.entries.end(),
                     [](const auto& entry) { return entry.first.text == "experts"; });
}

}  // namespace

std::optional<MoeRecipe> parse_moe_recipe(std::string_view text, const std::string& file,
                                          bool strict) {
  std::vector<YamlNode> documents = parse_yaml_documents(text, file);
  const auto found = std::find_if(documents.begin(), documents.end(), has_experts);
  if (found == documents.end()) return std::nullopt;
  if (documents.size() > 1)
    throw Error(ErrorKind::unsupported, "a recipe of experts beside other documents",
                found->place(file), "put it into a file of its own, and merge the others first");
  expand_merge_keys(*found, file);
  return read_document(*found, file, strict);
}

std::vector<ModelRef> models_of(const MoeRecipe& recipe) {
  std::vector<ModelRef> models{recipe.base};
  for (const ExpertSpec& expert : recipe.experts) {
    if (std::find(models.begin(), models.end(), expert.model) == models.end())
      models.push_back(expert.model);
  }
  return models;
}

}  // namespace smidgen
