// Merge recipes: documents as typed values, and as plans of output tensors over two small models;
// recipes of experts.
#include <algorithm>

#include "smidgen/delta/merge/moe_recipe.h"
#include "smidgen/delta/merge/plan.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

namespace {

class Fields : public MergeMethod {
 public:
  explicit Fields(MergeTraits traits) : traits_(traits) {}
  std::string summary() const override { return ""; }
  std::string source() const override { return ""; }
  MergeTraits traits() const override { return traits_; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"weight", number, traits_.base == MergeTraits::Base::ignored ? input : other},
            {"t", number, shared, 0.5},
            {"rounds", integer, shared, 3},
            {"normalize", flag, shared, 1}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask&) const override { return nullptr; }

 private:
  MergeTraits traits_;
};

const Registry<MergeMethod>& methods() {
  static const Registry<MergeMethod> registry = [] {
    Registry<MergeMethod> made("merge method");
    made.add("linear", std::make_unique<Fields>(MergeTraits{}));
    made.add("slerp",
             std::make_unique<Fields>(MergeTraits{.base = MergeTraits::Base::required,
                                                  .most = 1,
                                                  .missing = MergeTraits::Missing::copy_single}));
    made.add("stock",
             std::make_unique<Fields>(MergeTraits{.base = MergeTraits::Base::required,
                                                  .least = 2,
                                                  .missing = MergeTraits::Missing::base_or_skip}));
    return made;
  }();
  return registry;
}

// Models that differ: the second has a head and no final norm, every third one is larger,
// and those that begin with v have a vision tower.
ModelTensors model(const std::string& label, size_t index) {
  ModelTensors made{label, {}};
  const auto add = [&](const std::string& name) {
    made.tensors.push_back({name, {index % 3 == 2 ? 3 : 2, 2}, Format::f32});
  };
  add("model.embed_tokens.weight");
  add(index % 2 ? "lm_head.weight" : "model.norm.weight");
  for (const char* prefix : {"model.layers", "vision_tower.blocks"}) {
    for (int layer = 0; layer < 3; ++layer) {
      for (const char* part : {"a", "b", "c", "d", "e"})
        add(str(prefix, ".", layer, ".", part, ".weight"));
    }
  }
  if (!label.starts_with("v"))
    std::erase_if(made.tensors,
                  [](const SourceTensor& t) { return t.name.starts_with("vision_tower"); });
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepted([&] {
    const auto experts = parse_moe_recipe(fuzz::text_of(data, size), "input.yaml");
    if (!experts) return;
    fuzz::require(
        experts->used >= 1 && experts->used <= static_cast<int64_t>(experts->experts.size()),
        "a token has as many experts as it uses");
    fuzz::require(models_of(*experts).front() == experts->base, "the base comes first");
  });
  std::vector<MergeRecipe> recipes;
  const bool read = fuzz::accepted(
      [&] { recipes = parse_merge_recipes(fuzz::text_of(data, size), "input.yaml"); });
  if (!read) return 0;
  fuzz::require(!recipes.empty(), "a text that is read has a recipe");
  fuzz::accepted([&] {
    std::vector<size_t> order = stage_order(recipes);
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i)
      fuzz::require(order[i] == i, "every document runs once");
  });
  for (const MergeRecipe& recipe : recipes) {
    std::vector<ModelTensors> models;
    for (const ModelRef& ref : models_of(recipe)) {
      if (models.size() == 16) return 0;
      models.push_back(model(ref.text(), models.size()));
    }
    fuzz::accepted([&] {
      const MergePlan plan = plan_merge(recipe, methods(), models);
      for (const PlannedTensor& tensor : plan.tensors) {
        const MergeTask& task = tensor.task;
        fuzz::require(tensor.inputs.size() == task.inputs + (task.base ? 1 : 0),
                      "every input is named", task.tensor);
        fuzz::require(task.elements == task.shape[0] * 2, "the shape is a model's", task.tensor);
        for (const PlannedInput& input : tensor.inputs)
          fuzz::require(input.model < models.size(), "inputs are models", task.tensor);
      }
    });
  }
  return 0;
}
