#include "smidgen/delta/merge/plan_checks_test.h"

#include <algorithm>

namespace smidgen {

namespace {

class OnlyFields : public MergeMethod {
 public:
  explicit OnlyFields(NamedMethod method) : method_(std::move(method)) {}
  std::string summary() const override { return method_.name; }
  std::string source() const override { return "a test"; }
  MergeTraits traits() const override { return method_.traits; }
  std::vector<MergeField> fields() const override { return method_.fields; }
  std::unique_ptr<TensorMerge> start(const MergeTask&) const override { return nullptr; }

 private:
  NamedMethod method_;
};

}  // namespace

Registry<MergeMethod> registry_of(const std::vector<NamedMethod>& methods) {
  Registry<MergeMethod> registry("merge method");
  for (const NamedMethod& method : methods)
    registry.add(method.name, std::make_unique<OnlyFields>(method));
  return registry;
}

const Registry<MergeMethod>& named_methods() {
  using enum MergeField::Kind;
  using enum MergeField::Scope;
  using Base = MergeTraits::Base;
  using Missing = MergeTraits::Missing;
  static const Registry<MergeMethod> registry = registry_of({
      {"linear", {}, {{"weight", number, input}, {"normalize", flag, shared, 1}}},
      {"slerp",
       {.base = Base::required, .least = 1, .most = 1, .missing = Missing::copy_single},
       {{"t", number, shared}}},
      {"ties",
       {.base = Base::required},
       {{"weight", number, other}, {"density", number, other, 1}, {"normalize", flag, shared, 1}}},
      {"nuslerp",
       {.base = Base::optional, .least = 2, .most = 2, .missing = Missing::copy_single},
       {{"weight", number, other}}},
      {"nearswap",
       {.base = Base::required, .least = 1, .most = 1, .missing = Missing::copy_base},
       {{"t", number, shared}}},
      {"model_stock",
       {.base = Base::required, .least = 2, .missing = Missing::base_or_skip},
       {{"filter_wise", flag, shared, 0}}},
      {"karcher", {}, {{"max_iter", integer, shared, 10}}},
      {"passthrough", {.most = 1}, {{"scale", number, input, 1}}},
  });
  return registry;
}

SourceTensor tensor_of(const std::string& name, std::vector<int64_t> shape, Format stored) {
  return {name, std::move(shape), stored};
}

ModelTensors model_of(const std::string& label, int64_t layers, bool head) {
  ModelTensors model{label, {}};
  model.tensors.push_back(tensor_of("model.embed_tokens.weight", {8, 4}));
  for (int64_t i = 0; i < layers; ++i) {
    for (const char* part : {"input_layernorm", "mlp.up_proj", "self_attn.k_proj",
                             "self_attn.q_proj"})
      model.tensors.push_back(tensor_of(str("model.layers.", i, ".", part, ".weight")));
  }
  model.tensors.push_back(tensor_of("model.norm.weight", {4}));
  if (head) model.tensors.push_back(tensor_of("lm_head.weight", {8, 4}));
  return model;
}

MergePlan planned(const std::string& text, const std::vector<ModelTensors>& models,
                  const Registry<MergeMethod>& methods) {
  const MergeRecipe recipe = parse_merge_recipes(text, "m.yml").at(0);
  std::vector<ModelTensors> ordered;
  for (const ModelRef& model : models_of(recipe)) {
    const auto found =
        std::find_if(models.begin(), models.end(),
                     [&](const ModelTensors& m) { return m.label == model.text(); });
    SMIDGEN_ASSERT(found != models.end());
    ordered.push_back(*found);
  }
  return plan_merge(recipe, methods, ordered);
}

const PlannedTensor* find(const MergePlan& plan, const std::string& tensor) {
  for (const PlannedTensor& planned : plan.tensors) {
    if (planned.task.tensor == tensor) return &planned;
  }
  return nullptr;
}

}  // namespace smidgen
