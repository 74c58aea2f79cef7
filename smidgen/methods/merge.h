// Merging adapters into a model and taking them out again, through their deltas.
#pragma once

#include <map>
#include <vector>

#include "smidgen/methods/adapter_set.h"

namespace smidgen {

struct Combined {
  std::map<std::string, Delta> weights;      // by site
  std::map<std::string, at::Tensor> biases;  // fp32 [out]
};

// The sum of weight_i * adapter_i, site by site. Low-rank updates join exactly: their ranks add up.
// One adapter of weight 1 gives its own deltas, to the bit. Throws unsupported when a method has no
// delta, or when something is asked for at another weight than 1 and cannot be scaled.
Combined combine(const Model& model, const std::vector<const Adapter*>& adapters,
                 const std::vector<double>& weights);
Combined combine(const Model& model, const AdapterSet& adapters, const Mix& mix);

// Gives each touched host a new weight W + delta beside its original: sums in fp32, rounded once to
// the base's format; biases likewise. A `stored` base stays in its file: the adapters' values are
// added for every use, as they are then. The original is not written to, so unmerge() brings back
// its bits. A tied head and its embedding stay tied where both become the same; else each has its
// own weight until unmerge(). Throws usage when something is merged already, unsupported where a
// module without a bias would need one.
void merge(Model& model, const std::vector<const Adapter*>& adapters,
           const std::vector<double>& weights);
void merge(Model& model, const Adapter& adapter);
void merge(Model& model, const AdapterSet& adapters, const Mix& mix);
void unmerge(Model& model);

}  // namespace smidgen
