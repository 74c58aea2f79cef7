// One call of `smidgen merge`: all documents of a recipe, in the order in which they need each
// other.
#pragma once

#include <cstdint>
#include <memory>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/base/schema.h"

namespace smidgen {

struct ModelPasses;

struct MergeRun {
  fs::path config, out;
  Size shard_size{5'000'000'000};
  int64_t seed = -1;
  bool strict = false, dry_run = false, allow_other_base = false;
  bool unsafe_truncate_embeddings = false;
  bool statistics = true, digests = true;
  bool verify = false;
  // For one merge of many, and no fields: neither notes nor progress, and ModelPasses to keep.
  bool quiet = false;
  std::shared_ptr<ModelPasses> passes = {};
};

template <class V>
void fields(V& v, MergeRun& c) {
  v("config", c.config, {.help = "The merge recipe: a YAML file of mergekit's", .required = true});
  v("out", c.out, {.help = "Folder to write; it must be new or empty", .required = true});
  v("shard_size", c.shard_size, {.help = "Largest weight file", .min = 1});
  v("seed", c.seed,
    {.help = "Of random methods; -1: the recipe's `smidgen: {seed: N}`, else 0", .min = -1});
  v("strict", c.strict, {.help = "Refuse keys that have no effect, where mergekit ignores them"});
  v("dry_run", c.dry_run, {.help = "Read and check everything, write nothing"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Use an adapter on another base than it was trained on"});
  v("unsafe_truncate_embeddings", c.unsafe_truncate_embeddings,
    {.help =
         "Cut vocabularies of different sizes to the shortest; nothing checks that the ids that "
         "are left mean the same"});
  v("statistics", c.statistics, {.help = "What the merge did to each tensor, in the card"});
  v("digests", c.digests, {.help = "SHA-256 of the inputs' weights, in the card"});
  v("verify", c.verify,
    {.help = "Where the settings give back one of the models, compare the logits of what was "
             "written with that model's, and write the difference beside it; else say that no law "
             "tells what it must be"});
}

// Throws usage where `out` lies in the folder of an input.
void require_outside(const std::string& model, const fs::path& out);

// A recipe of experts is assembled (moe_run.h), every other one merged.
// {"stages": [{"name", "out", "method", "tensors", "bytes", "seconds", ...}, ...]}; the last is
// `out`, the others lie in OUT.stages.
Json run_merge(const MergeRun& run);
// `recipe` stands for the text of the file, as --search does it.
Json run_merge(const MergeRun& run, const std::string& recipe);

}  // namespace smidgen
