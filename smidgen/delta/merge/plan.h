// From a merge recipe and the names of its models' tensors to a list of tensors to compute. Nothing
// is read; what does not fit together is found here, before anything is written.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "smidgen/base/registry.h"
#include "smidgen/delta/merge/method.h"
#include "smidgen/delta/merge/recipe.h"
#include "smidgen/delta/source.h"

namespace smidgen {

struct ModelTensors {
  std::string label;
  std::vector<SourceTensor> tensors;
};

struct PlannedInput {
  size_t model = 0;             // in models_of(recipe)
  std::string tensor;           // its name there
  std::string statistics = {};  // the file that its entry names; empty: none
  bool operator==(const PlannedInput&) const = default;
};

struct PlannedTensor {
  enum class Action {
    merge,
    copy,          // of the only model that has it: MergeTraits::Missing
    copy_if_equal  // integers and the like: an error where the inputs' bytes differ
  };
  Action action = Action::merge;
  MergeTask task;
  // As TensorPorts counts them: task.inputs in the order of the recipe, then the base if task.base.
  std::vector<PlannedInput> inputs;
  bool vocabulary = false;  // the first dimension counts tokens
};

// The layers of one numbered prefix in the result. For the donor's config.json: layer_config.h.
struct PlannedStack {
  struct Origin {
    size_t model = 0;  // the donor where a slice has it, else the slice's first
    int64_t layer = 0;
  };
  std::string prefix;
  int64_t before = 0;  // layers of the donor
  std::vector<Origin> layers;
};

struct MergePlan {
  std::string method;
  size_t donor = 0;  // of config.json and the rest: base_model, else the first model
  std::vector<PlannedTensor> tensors;
  std::vector<PlannedStack> stacks;
  std::vector<std::string> notes;
};

// `models` are those of models_of(recipe). As mergekit 0.1.5:
//   - `models` are one slice of all layers, with base_model as the last input where no entry is it,
//     also for methods that ignore a base. With `slices` a base that the method uses must be a
//     source of every slice.
//   - Layer i of a slice of L layers has t = i / (L - 1), t = 1 where L = 1, and t = 0 everything
//     outside of layers: what comes before is merged from the first slice's models with its
//     parameters, what comes behind from the last slice's.
//   - A shared parameter is looked up in slice, module, recipe by the name of the output tensor;
//   one
//     of an input first in its entry, and by the name of the input's tensor.
//   - A tied tensor (a head) that no input stores is left out; where one stores it, the others give
//     their embedding.
// Differs: a model may be several inputs of a slice, each with its entry's parameters, where
// mergekit refuses it; behind the layers all inputs of the last slice count, where mergekit counts
// as many as the first has; names of layers are found in the tensors, not in a table of families.
// A tensor that only some inputs have follows MergeTraits::missing whatever it is, and a note names
// it; with Missing::refuse it is an error. mergekit does so for tensors that its tables call
// optional, and lets methods that ignore the base merge the inputs that are there.
// With a tokenizer in the recipe, tensors of the vocabulary may differ in rows: shape and elements
// are then those of the first input, and are to be set once the vocabulary is known.
//
// Throws usage with the place in the recipe, and mismatch that names all tensors which do not fit.
MergePlan plan_merge(const MergeRecipe& recipe, const Registry<MergeMethod>& methods,
                     std::span<const ModelTensors> models);

}  // namespace smidgen
