// A merge recipe: mergekit's YAML as typed values. What it means for tensors: plan.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/delta/merge/parameters.h"
#include "smidgen/delta/merge/tokenizer_spec.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

// A model in a recipe, or layers [begin, end) of one where a slice names it.
struct SourceSpec {
  ModelRef model;
  int64_t begin = 0, end = 0;
  Parameters parameters;
  std::string place;
  std::string statistics = {};  // a safetensors file; empty: none. Ours; mergekit ignores it
};

// Output layers: those of its sources, merged one by one. All sources have equally many.
struct SliceSpec {
  std::vector<SourceSpec> sources;
  std::optional<ModelRef> base;
  Parameters parameters;
  std::string place;
};

// Either whole models, or slices that follow each other.
struct ModuleSpec {
  std::string name;
  std::vector<SourceSpec> models;
  std::vector<SliceSpec> slices;
  Parameters parameters;
  std::string place;
};

struct MergeRecipe {
  std::string file;
  std::string name;  // of a document among several: other documents may use it as a model
  std::string method, method_place;
  std::optional<ModelRef> base;
  // Exactly one of: the body's models or slices, or `modules`.
  ModuleSpec body;
  std::vector<ModuleSpec> modules;
  Parameters parameters;
  std::optional<Format> dtype, out_dtype;
  std::optional<MergedTokenizer> tokenizer;  // also of tokenizer_source
  std::string chat_template;                 // auto, a built-in name or a template; empty: none

  // The map `smidgen`, which mergekit ignores.
  bool as_mergekit = false;  // compat: mergekit: its choices where ours would differ
  uint64_t seed = 0;         // of random methods
  bool strict = false;       // keys without effect are errors

  std::vector<std::string> ignored;  // "KEY (FILE:LINE:COLUMN)" of what has no effect
};

// All documents of a text, as mergekit 0.1.5 reads them. Every Error names file, line and column.
// Differs: keys that mergekit ignores are recorded, and misspelt ones refused; so are
// revisions, slices without layers, layer numbers below zero, and a document without content.
// `strict` holds for every document, as if each had it.
std::vector<MergeRecipe> parse_merge_recipes(std::string_view text, const std::string& file,
                                             bool strict = false);
std::vector<MergeRecipe> read_merge_recipes(const std::string& file, bool strict = false);

// The type under `key`: float16, bfloat16, float32 or float64, with or without `torch.` before it.
std::optional<Format> read_dtype(const RecipeMap& map, const char* key);

// One line about what a recipe or its parameters say without effect.
std::string ignored_note(const std::vector<std::string>& ignored);

// The distinct models of a recipe in the order in which it names them, the base last unless it was
// named before.
std::vector<ModelRef> models_of(const MergeRecipe& recipe);

// The documents in an order in which each comes after those whose names it uses as models. Throws
// usage for a circle, and for names that come twice (also none, for more than one document).
std::vector<size_t> stage_order(const std::vector<MergeRecipe>& recipes);

}  // namespace smidgen
