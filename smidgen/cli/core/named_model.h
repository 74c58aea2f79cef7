// What a verb that compares models takes for one: a model, or an adapter on a common base.
#pragma once

#include <string>
#include <vector>

#include "smidgen/methods/open_model.h"

namespace smidgen {

struct NamedModels {
  std::string base;  // of adapters named alone; may be empty
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

// Throws usage for an adapter where there is no base.
ModelChoice named_model(const NamedModels& named, const std::string& spec);

}  // namespace smidgen
