#include "smidgen/kernels/formats/registry.h"

#include <algorithm>

namespace smidgen {

const Registry<WeightFormat>& weight_formats() {
  static const Registry<WeightFormat> registry = [] {
    Registry<WeightFormat> filled("weight format");
    register_all(filled);
    return filled;
  }();
  return registry;
}

const WeightFormat& find_weight_format(const std::string& name) {
  for (const auto& [key, format] : weight_formats().entries()) {
    const std::vector<std::string> aliases = format->aliases();
    if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return *format;
  }
  return weight_formats().find(name);
}

}  // namespace smidgen
