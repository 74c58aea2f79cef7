#include "smidgen/delta/merge/modules.h"

#include <algorithm>
#include <set>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// Beginnings of tensor names behind a module's name.
std::vector<std::string> prefixes_of(const std::string& module) {
  std::vector<std::string> prefixes = {str(module, "."), str("model.", module, ".")};
  const auto add = [&](std::initializer_list<const char*> more) {
    prefixes.insert(prefixes.end(), more.begin(), more.end());
  };
  if (module == "text_decoder") add({"language_model.", "model.language_model."});
  if (module == "vision_tower") add({"vision_model.", "visual.", "model.visual."});
  if (module == "multi_modal_projector")
    add({"visual.merger.", "model.visual.merger.", "model.visual.deepstack_merger_list."});
  return prefixes;
}

bool takes_the_rest(const std::string& module) {
  return module == "text_decoder" || module == "shared" || module == "default";
}

// Words that a module could be called by: the first one or two of its tensors' names.
std::vector<std::string> possible_names(const std::vector<std::string>& tensors) {
  std::set<std::string> names = {"default"};
  for (const std::string& tensor : tensors) {
    const size_t first = tensor.find('.');
    if (first == tensor.npos) continue;
    names.insert(tensor.substr(0, first));
    if (const auto layer = layer_name(tensor)) names.insert(layer->prefix);
  }
  return {names.begin(), names.end()};
}

void keep_loose(ModelPart& part, const std::vector<std::string>& tensors) {
  for (const std::string& tensor : tensors) {
    const auto name = layer_name(tensor);
    const bool in_stack =
        name && std::any_of(part.stacks.begin(), part.stacks.end(), [&](const LayerStack& stack) {
          return stack.prefix == name->prefix && name->layer < stack.layers;
        });
    if (!in_stack) part.loose.push_back(tensor);
  }
}

ModelPart whole_model(const MergeRecipe& recipe, const std::vector<std::string>& tensors) {
  ModelPart part{.spec = &recipe.body, .stacks = layer_stacks(tensors)};
  if (!recipe.body.slices.empty() && part.stacks.size() != 1) {
    std::vector<std::string> prefixes;
    for (const LayerStack& stack : part.stacks) prefixes.push_back(stack.prefix);
    throw Error(ErrorKind::usage,
                prefixes.empty()
                    ? std::string("slices need numbered layers, and the model has none")
                    : str("slices need one stack of layers, and the model has ", prefixes.size(),
                          ": ", join(prefixes)),
                recipe.body.place, "name its parts under modules, each with its slices or models");
  }
  keep_loose(part, tensors);
  return part;
}

}  // namespace

std::vector<ModelPart> model_parts(const MergeRecipe& recipe,
                                   const std::vector<std::string>& tensors) {
  if (recipe.modules.empty()) return {whole_model(recipe, tensors)};
  std::vector<std::vector<std::string>> owned(recipe.modules.size());
  std::vector<std::string> nobody;
  for (const std::string& tensor : tensors) {
    size_t owner = recipe.modules.size(), rest = owner, longest = 0;
    for (size_t i = 0; i < recipe.modules.size(); ++i) {
      for (const std::string& prefix : prefixes_of(recipe.modules[i].name)) {
        if (tensor.starts_with(prefix) && prefix.size() > longest) {
          owner = i;
          longest = prefix.size();
        }
      }
      if (rest == recipe.modules.size() && takes_the_rest(recipe.modules[i].name)) rest = i;
    }
    if (owner == recipe.modules.size()) owner = rest;
    (owner == recipe.modules.size() ? nobody : owned[owner]).push_back(tensor);
  }
  std::vector<ModelPart> parts;
  for (size_t i = 0; i < recipe.modules.size(); ++i) {
    const ModuleSpec& spec = recipe.modules[i];
    if (owned[i].empty())
      throw Error(ErrorKind::usage, str("the model has no module '", spec.name, "'"), spec.place,
                  did_you_mean(spec.name, possible_names(tensors),
                               str("known: ", join(possible_names(tensors), ", ", 12))));
    ModelPart part{.spec = &spec, .stacks = layer_stacks(owned[i])};
    if (!spec.slices.empty()) {
      if (part.stacks.empty())
        throw Error(ErrorKind::usage,
                    str("slices need numbered layers, and the module '", spec.name, "' has none"),
                    spec.place, "give it models");
      part.stacks.resize(1);
    }
    keep_loose(part, owned[i]);
    parts.push_back(std::move(part));
  }
  if (!nobody.empty())
    throw Error(ErrorKind::usage,
                str(counted(nobody.size(), "tensor"), " of the model ",
                    nobody.size() == 1 ? "belongs" : "belong", " to no module of the recipe: ",
                    join(nobody, ", ", 4)),
                recipe.body.place, "a module 'default' takes what no other has");
  return parts;
}

}  // namespace smidgen
