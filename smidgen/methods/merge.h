// Merging adapters into a model and taking them out again, through their deltas.
#pragma once

#include <map>
#include <vector>

#include "smidgen/methods/adapter.h"

namespace smidgen {

// The sum of weight_i * adapter_i, site by site. One adapter of weight 1 gives its own deltas, to
// the bit. Throws unsupported when a method has no delta, or is not linear and is asked for at
// another weight than 1.
std::map<std::string, Delta> combine(const Model& model,
                                     const std::vector<const Adapter*>& adapters,
                                     const std::vector<double>& weights);

// Gives each touched host a new weight W + delta beside its original: sums in fp32, rounded once to
// the base's format. The original is not written to, so unmerge() brings back its bits. Throws
// usage when something is merged already, unsupported for a site whose weight is tied to another's.
void merge(Model& model, const std::vector<const Adapter*>& adapters,
           const std::vector<double>& weights);
void merge(Model& model, const Adapter& adapter);
void unmerge(Model& model);

}  // namespace smidgen
