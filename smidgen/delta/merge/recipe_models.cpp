// Which models a recipe names, and in which order several recipes run.
#include <algorithm>
#include <map>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {

namespace {

template <class Visit>
void for_sources(const MergeRecipe& recipe, Visit&& visit) {
  const auto of_module = [&](const ModuleSpec& module) {
    for (const SourceSpec& source : module.models) visit(source.model);
    for (const SliceSpec& slice : module.slices) {
      for (const SourceSpec& source : slice.sources) visit(source.model);
      if (slice.base) visit(*slice.base);
    }
  };
  of_module(recipe.body);
  for (const ModuleSpec& module : recipe.modules) of_module(module);
}

// Also those that only the tokenizer's entry names.
std::vector<ModelRef> all_models(const MergeRecipe& recipe) {
  std::vector<ModelRef> models = models_of(recipe);
  if (!recipe.tokenizer) return models;
  if (recipe.tokenizer->model) models.push_back(*recipe.tokenizer->model);
  for (const TokenizerSpec::Token& token : recipe.tokenizer->tokens) {
    if (token.model) models.push_back(*token.model);
  }
  return models;
}

class Stages {
 public:
  explicit Stages(const std::vector<MergeRecipe>& recipes)
      : recipes_(recipes), state_(recipes.size(), State::open) {
    for (size_t i = 0; i < recipes.size(); ++i) {
      const std::string& name = recipes[i].name;
      if (!by_name_.emplace(name, i).second)
        throw Error(ErrorKind::usage,
                    name.empty() ? std::string("two documents have no name")
                                 : str("two documents have the name '", name, "'"),
                    recipes[i].body.place,
                    name.empty() ? "one document may lack it: the one whose result is kept" : "");
    }
  }

  std::vector<size_t> order() {
    for (size_t i = 0; i < recipes_.size(); ++i) visit(i);
    return order_;
  }

 private:
  enum class State { open, entered, done };

  void visit(size_t i) {
    if (state_[i] == State::done) return;
    state_[i] = State::entered;
    for (const ModelRef& model : all_models(recipes_[i])) {
      const auto found = by_name_.find(model.path);
      if (found == by_name_.end()) continue;
      if (state_[found->second] == State::entered)
        throw Error(ErrorKind::usage,
                    str("the documents depend on each other in a circle through '", model.path,
                        "'"),
                    model.place);
      visit(found->second);
    }
    state_[i] = State::done;
    order_.push_back(i);
  }

  const std::vector<MergeRecipe>& recipes_;
  std::vector<State> state_;
  std::map<std::string, size_t> by_name_;
  std::vector<size_t> order_;
};

}  // namespace

std::vector<ModelRef> models_of(const MergeRecipe& recipe) {
  std::vector<ModelRef> models;
  const auto add = [&](const ModelRef& model) {
    if (std::find(models.begin(), models.end(), model) == models.end()) models.push_back(model);
  };
  for_sources(recipe, add);
  if (recipe.base) add(*recipe.base);
  return models;
}

std::vector<size_t> stage_order(const std::vector<MergeRecipe>& recipes) {
  return Stages(recipes).order();
}

}  // namespace smidgen
