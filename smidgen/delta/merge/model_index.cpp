#include "smidgen/delta/merge/model_index.h"

#include "smidgen/delta/merge/layers.h"

namespace smidgen {

ModelIndex::ModelIndex(const ModelTensors& model) : model_(model) {
  for (const SourceTensor& tensor : model.tensors) {
    by_name_.emplace(tensor.name, &tensor);
    if (auto name = layer_name(tensor.name))
      by_layer_[name->prefix][name->layer].push_back(std::move(name->rest));
  }
}

const SourceTensor* ModelIndex::find(const std::string& tensor) const {
  const auto found = by_name_.find(tensor);
  return found == by_name_.end() ? nullptr : found->second;
}

int64_t ModelIndex::layers(const std::string& prefix) const {
  const auto found = by_layer_.find(prefix);
  return found == by_layer_.end() ? 0 : found->second.rbegin()->first + 1;
}

const std::vector<std::string>& ModelIndex::in_layer(const std::string& prefix,
                                                     int64_t layer) const {
  static const std::vector<std::string> none;
  const auto stack = by_layer_.find(prefix);
  if (stack == by_layer_.end()) return none;
  const auto found = stack->second.find(layer);
  return found == stack->second.end() ? none : found->second;
}

}  // namespace smidgen
