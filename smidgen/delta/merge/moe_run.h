// A recipe of experts as a model folder: what `smidgen merge` does with one.
#pragma once

#include "smidgen/delta/merge/merge_run.h"
#include "smidgen/delta/merge/moe_recipe.h"

namespace smidgen {

// The folder is written as that of any merge: it appears whole, and an interrupted call goes on
// after the last whole weight file. Returns what run_merge() returns, and for its one stage the
// layers whose prompts are too much alike.
Json run_moe(const MergeRun& run, const MoeRecipe& recipe, const std::string& text);

}  // namespace smidgen
