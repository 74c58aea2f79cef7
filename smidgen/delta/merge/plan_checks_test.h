// For tests of merge recipes: methods that only have fields, and models that only have names.
#pragma once

#include <string>
#include <vector>

#include "smidgen/delta/merge/plan.h"

namespace smidgen {

struct NamedMethod {
  std::string name;
  MergeTraits traits;
  std::vector<MergeField> fields;
};
Registry<MergeMethod> registry_of(const std::vector<NamedMethod>& methods);

// linear, slerp, ties, nuslerp (base optional), nearswap, model_stock and passthrough with their
// traits and a few of their fields.
const Registry<MergeMethod>& named_methods();

SourceTensor tensor_of(const std::string& name, std::vector<int64_t> shape = {4, 4},
                       Format stored = Format::f32);
// model.embed_tokens, model.norm, lm_head, and four tensors in each of model.layers.
ModelTensors model_of(const std::string& label, int64_t layers, bool head = true);

// The plan of a text's only document; `models` by label, whatever their order.
MergePlan planned(const std::string& text, const std::vector<ModelTensors>& models,
                  const Registry<MergeMethod>& methods = named_methods());
const PlannedTensor* find(const MergePlan& plan, const std::string& tensor);

}  // namespace smidgen
