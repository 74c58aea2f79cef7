// Carries out a plan: reads the models in pieces, merges, and writes a model folder.
#pragma once

#include <functional>
#include <memory>

#include "smidgen/base/fs.h"
#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/source.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

// What the passes of a method that looks at the whole model have found (MergeTraits::whole_model),
// kept from one merge to the next: they run again only where more has changed than settings that
// are MergeField::late. The files of the models must be the same all the while.
struct ModelPasses {
  std::string key;
  std::shared_ptr<TensorMerge> found;
};

struct MergeOptions {
  std::vector<Format> formats;  // of each tensor of the plan
  uint64_t shard_bytes = 5'000'000'000;
  bool statistics = true;                    // of each tensor, in the result of merge_models
  std::function<void(int64_t bytes)> wrote;  // called after each tensor, with all bytes so far
  std::shared_ptr<ModelPasses> passes;       // null: nothing is kept
};

struct MergeOutcome {
  Json statistics = Json::object();  // by tensor
  size_t shards = 0, kept = 0;       // kept: finished by an interrupted run before this one
};

// Writes the weights of `plan` into `folder`, which exists. A shard that lies there whole was
// written by an earlier run of the same plan and is kept (see MergeFolder). Results are the same
// for every number of threads. Memory: for each thread a chunk of every input and what the method
// collects; never a whole tensor. Throws data for NaN and infinities in the inputs, naming model
// and tensor; resource when the disk is full, before the shard is begun.
MergeOutcome merge_weights(const MergePlan& plan,
                           const std::vector<std::shared_ptr<const Source>>& sources,
                           const fs::path& folder, const MergeOptions& options);

}  // namespace smidgen
