// README.md of a merged model.
#pragma once

#include <memory>
#include <string>

#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/source.h"

namespace smidgen {

// Statistics of all tensors together, from those of each.
Json whole_statistics(const MergePlan& plan, const Json& by_tensor);

// Markdown with the front matter that model hubs read: the recipe, the inputs with their digests
// (where asked), and what the merge did, whole and layer by layer.
std::string merge_card(const MergePlan& plan,
                       const std::vector<std::shared_ptr<const Source>>& sources,
                       const std::string& recipe, const Json& statistics, bool digests);

}  // namespace smidgen
