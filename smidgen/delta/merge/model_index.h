// The tensors of one model by name and by layer.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "smidgen/delta/merge/plan.h"

namespace smidgen {

class ModelIndex {
 public:
  explicit ModelIndex(const ModelTensors& model);

  const std::string& label() const { return model_.label; }
  const SourceTensor* find(const std::string& tensor) const;  // null when there is none
  // The largest number behind the prefix, plus one.
  int64_t layers(const std::string& prefix) const;
  // LayerName::rest of what lies in a layer, in the model's order.
  const std::vector<std::string>& in_layer(const std::string& prefix, int64_t layer) const;

 private:
  const ModelTensors& model_;
  std::unordered_map<std::string, const SourceTensor*> by_name_;
  std::map<std::string, std::map<int64_t, std::vector<std::string>>> by_layer_;
};

// Names in the order in which they first occur.
class NameUnion {
 public:
  void add(const std::string& name) {
    if (seen_.insert(name).second) names_.push_back(name);
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::unordered_set<std::string> seen_;
  std::vector<std::string> names_;
};

}  // namespace smidgen
