// Whether adapters may be combined at all, and what they bring beside their updates.
#pragma once

#include <string>
#include <vector>

#include "smidgen/delta/adapters/combination.h"
#include "smidgen/delta/adapters/combine.h"
#include "smidgen/delta/adapters/lora_folder.h"

namespace smidgen {

// Throws usage where the type lacks a setting that it needs, or has no use for one that was given.
void check_settings(const Combination& type, const CombineOptions& options);

// Throws mismatch for adapters that were trained on different bases, as far as their files tell;
// notes where they only may have been.
void check_same_base(const std::vector<WeightedAdapter>& adapters, bool allow_other_base);

// The common sidecar keys of the adapters that have one.
Json common_sidecar(const std::vector<WeightedAdapter>& adapters);

// Copies of modules, biases and token rows: each must be the same, bit for bit, in all adapters
// that bring it, and their weights add up to 1. Throws unsupported, naming the tensor, elsewhere.
void keep_others(const std::vector<WeightedAdapter>& adapters, LoraFolder& folder);

// The configuration of the result before ranks and targets: the first adapter's, with what the
// others train beside their updates. `targets` afterwards: the adapters' own words where they agree
// on which layers these speak of; null where only whole paths say the same.
Json joined_config(const std::vector<WeightedAdapter>& adapters);
Json joined_targets(const std::vector<WeightedAdapter>& adapters);

}  // namespace smidgen
