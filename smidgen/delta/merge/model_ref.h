// How a merge recipe names a model.
#pragma once

#include <string>

#include "smidgen/delta/merge/recipe_map.h"

namespace smidgen {

struct ModelRef {
  std::string path;
  std::string adapter = {};  // empty: none
  std::string place = {};    // where the recipe names it

  // PATH or PATH+ADAPTER, what open_source takes.
  std::string text() const;
  bool operator==(const ModelRef& other) const {
    return path == other.path && adapter == other.adapter;
  }
};

// "PATH", "PATH+LORA", or {model: PATH or {path}, lora: PATH or {path}}; the words of the second
// form are taken as they are, so that a path may hold @ and +. Refused: revisions (PATH@REV), which
// only a hub has, more than one @ or + in a part, and what has no path. As mergekit 0.1.5, which
// gives `override_architecture` an effect; here tensors speak for themselves, and it has none.
ModelRef read_model_ref(const YamlNode& node, RecipeReading& reading);

}  // namespace smidgen
