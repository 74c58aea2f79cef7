// The parts of a model that a recipe's `modules` names: a text decoder, a vision tower, what lies
// between them.
#pragma once

#include <string>
#include <vector>

#include "smidgen/delta/merge/layers.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {

struct ModelPart {
  const ModuleSpec* spec = nullptr;
  std::vector<LayerStack> stacks;  // at most one where the spec has slices
  std::vector<std::string> loose;  // tensors outside of the stacks
};

// `tensors` cut into parts. `models`, and `slices` where there is one stack, are the recipe's body:
// one part. With `modules` a tensor belongs to the part whose name, or whose prefix in mergekit's
// architectures (text_decoder, vision_tower, multi_modal_projector, encoder, decoder, shared),
// is the longest beginning of its own; what belongs to none is text_decoder's, shared's or
// default's. Throws usage: several stacks or none where a slice needs one, a module that is nowhere
// in the model, tensors that belong to no module (mergekit leaves them out of the result).
std::vector<ModelPart> model_parts(const MergeRecipe& recipe,
                                   const std::vector<std::string>& tensors);

}  // namespace smidgen
