#include "smidgen/delta/merge/recipe.h"

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

using Kind = YamlNode::Kind;

Parameters read_own(const RecipeMap& map) {
  const YamlNode* node = map.find("parameters");
  return node ? read_parameters(*node, map.reading()) : Parameters{};
}

std::string read_statistics(const RecipeMap& map) {
  const YamlNode* node = map.find("statistics");
  return node ? text_of(*node, map.reading(), "statistics") : std::string();
}

SourceSpec read_whole(const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "an entry of models", {"model", "parameters", "statistics"}, reading);
  return {.model = read_model_ref(map.need("model"), reading),
          .parameters = read_own(map),
          .place = map.place(),
          .statistics = read_statistics(map)};
}

SourceSpec read_source(const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "a source", {"model", "layer_range", "parameters", "statistics"},
                      reading);
  SourceSpec source{.model = read_model_ref(map.need("model"), reading),
                    .parameters = read_own(map),
                    .place = map.place(),
                    .statistics = read_statistics(map)};
  const YamlNode& range = map.need("layer_range");
  const auto& ends = list_of(range, reading, "layer_range");
  if (ends.size() != 2)
    bad_value(range, reading, "layer_range is not a pair", "[first, behind the last]");
  source.begin = whole_of(ends[0], reading, "a layer number");
  source.end = whole_of(ends[1], reading, "a layer number");
  if (source.begin < 0 || source.end <= source.begin)
    bad_value(range, reading, str("layer_range [", source.begin, ", ", source.end, "] is empty"),
              "[first, behind the last], counted from 0");
  return source;
}

SliceSpec read_slice(const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "a slice", {"sources", "base_model", "residual_weight", "parameters"},
                      reading);
  SliceSpec slice{.parameters = read_own(map), .place = map.place()};
  const YamlNode& sources = map.need("sources");
  for (const YamlNode& item : list_of(sources, reading, "sources"))
    slice.sources.push_back(read_source(item, reading));
  if (slice.sources.empty()) bad_value(sources, reading, "a slice without sources");
  const SourceSpec& first = slice.sources.front();
  for (const SourceSpec& source : slice.sources) {
    if (source.end - source.begin == first.end - first.begin) continue;
    throw Error(ErrorKind::usage,
                str("the sources of a slice have different numbers of layers: ",
                    first.end - first.begin, " of '", first.model.text(), "' and ",
                    source.end - source.begin, " of '", source.model.text(), "'"),
                source.place);
  }
  if (const YamlNode* base = map.find("base_model")) slice.base = read_model_ref(*base, reading);
  if (const YamlNode* weight = map.find("residual_weight"))
    reading.ignore("residual_weight", weight->place(reading.file), "a slice");
  return slice;
}

// The keys `models` and `slices` of a module, or of the recipe itself.
void read_body(ModuleSpec& module, const RecipeMap& map) {
  RecipeReading& reading = map.reading();
  if (const YamlNode* models = map.find("models")) {
    for (const YamlNode& item : list_of(*models, reading, "models"))
      module.models.push_back(read_whole(item, reading));
  }
  if (const YamlNode* slices = map.find("slices")) {
    for (const YamlNode& item : list_of(*slices, reading, "slices"))
      module.slices.push_back(read_slice(item, reading));
  }
}

std::vector<ModuleSpec> read_modules(const YamlNode& node, RecipeReading& reading) {
  if (node.kind != Kind::map)
    bad_value(node, reading, "modules is not a map from names to modules");
  std::vector<ModuleSpec> modules;
  for (const auto& [key, value] : node.entries) {
    const std::string what = str("the module '", key.text, "'");
    const RecipeMap map(value, what, {"models", "slices", "parameters"}, reading);
    ModuleSpec module{.name = key.text, .parameters = read_own(map), .place = map.place()};
    read_body(module, map);
    if (module.models.empty() == module.slices.empty())
      bad_value(value, reading, str(what, " needs either [models] or [slices]"));
    modules.push_back(std::move(module));
  }
  return modules;
}

void read_extension(MergeRecipe& recipe, const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "smidgen", {"compat", "seed", "strict"}, reading);
  if (const YamlNode* compat = map.find("compat")) {
    if (text_of(*compat, reading, "compat") != "mergekit")
      bad_value(*compat, reading, str("compat is '", compat->text, "'"), "known: mergekit");
    recipe.as_mergekit = true;
  }
  if (const YamlNode* seed = map.find("seed")) {
    const int64_t number = whole_of(*seed, reading, "seed");
    if (number < 0) bad_value(*seed, reading, "seed is negative");
    recipe.seed = static_cast<uint64_t>(number);
  }
  if (const YamlNode* strict = map.find("strict"))
    recipe.strict = flag_of(*strict, reading, "strict");
}

MergeRecipe read_document(const YamlNode& node, const std::string& file, bool strict) {
  MergeRecipe recipe{.file = file, .strict = strict};
  RecipeReading reading{.file = file, .strict = strict};
  if (node.kind != Kind::map)
    bad_value(node, reading, node.kind == Kind::null ? "an empty document" : "not a map of keys",
              "a merge recipe has the key merge_method");
  // First, since it says how unknown keys are taken.
  for (const auto& [key, value] : node.entries) {
    if (key.text == "smidgen" && value.kind != Kind::null) read_extension(recipe, value, reading);
  }
  reading.strict = recipe.strict = recipe.strict || strict;
  const RecipeMap map(
      node, "a merge recipe",
      {"merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype",
       "out_dtype", "tokenizer_source", "tokenizer", "chat_template", "name", "smidgen"},
      reading);
  const YamlNode& method = map.need("merge_method");
  recipe.method = text_of(method, reading, "merge_method");
  recipe.method_place = method.place(file);
  if (const YamlNode* name = map.find("name")) recipe.name = text_of(*name, reading, "name");
  if (const YamlNode* base = map.find("base_model")) recipe.base = read_model_ref(*base, reading);
  recipe.body.place = map.place();
  read_body(recipe.body, map);
  if (const YamlNode* modules = map.find("modules"))
    recipe.modules = read_modules(*modules, reading);
  if (!recipe.body.models.empty() + !recipe.body.slices.empty() + !recipe.modules.empty() != 1)
    bad_value(node, reading,
              "a merge recipe needs exactly one of [models], [slices] and [modules]");
  recipe.parameters = read_own(map);
  recipe.dtype = read_dtype(map, "dtype");
  recipe.out_dtype = read_dtype(map, "out_dtype");
  const YamlNode *source = map.find("tokenizer_source"), *tokenizer = map.find("tokenizer");
  if (source && tokenizer)
    bad_value(*tokenizer, reading, "[tokenizer_source] and [tokenizer] exclude each other");
  if (source) recipe.tokenizer = read_tokenizer_source(*source, reading);
  if (tokenizer) recipe.tokenizer = read_tokenizer_spec(*tokenizer, reading);
  if (const YamlNode* chat = map.find("chat_template"))
    recipe.chat_template = text_of(*chat, reading, "chat_template");
  recipe.ignored = std::move(reading.ignored);
  return recipe;
}

std::vector<MergeRecipe> read_documents(std::vector<YamlNode> documents, const std::string& file,
                                        bool strict) {
  if (documents.empty()) throw Error(ErrorKind::usage, "the file holds no merge recipe", file);
  std::vector<MergeRecipe> recipes;
  for (YamlNode& node : documents) {
    expand_merge_keys(node, file);
    recipes.push_back(read_document(node, file, strict));
  }
  return recipes;
}

}  // namespace

std::optional<Format> read_dtype(const RecipeMap& map, const char* key) {
  const YamlNode* node = map.find(key);
  if (!node) return std::nullopt;
  std::string name = text_of(*node, map.reading(), key);
  if (name.starts_with("torch.")) name = name.substr(6);
  if (name == "float16") return Format::f16;
  if (name == "bfloat16") return Format::bf16;
  if (name == "float32") return Format::f32;
  if (name == "float64") return Format::f64;
  const std::vector<std::string> known = {"float16", "bfloat16", "float32", "float64"};
  bad_value(*node, map.reading(), str(key, " is '", name, "', which is not a type of weights"),
            did_you_mean(name, known, str("known: ", join(known))));
}

std::string ignored_note(const std::vector<std::string>& ignored) {
  return str("without effect, as in mergekit: ", join(ignored));
}

std::vector<MergeRecipe> parse_merge_recipes(std::string_view text, const std::string& file,
                                             bool strict) {
  return read_documents(parse_yaml_documents(text, file), file, strict);
}

std::vector<MergeRecipe> read_merge_recipes(const std::string& file, bool strict) {
  return read_documents(read_yaml_documents(file), file, strict);
}

}  // namespace smidgen
