// A merge as a model folder: weights, configuration, tokenizer and a card.
#pragma once

#include <memory>
#include <string>

#include "smidgen/base/fs.h"
#include "smidgen/delta/merge/merge_models.h"
#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/merge/result_tokenizer.h"
#include "smidgen/delta/source.h"

namespace smidgen {

struct MergeFolderOptions {
  MergeOptions merge;
  const ResultTokenizer* tokenizer = nullptr;  // of which the sources are; null: the donor's
  bool digests = true;                         // SHA-256 of the inputs' weights, in the card
  std::string recipe_text;                     // as the user wrote it
  std::string recipe_name;                     // its file
};

// The folder `out` appears whole: until then everything lies in .NAME.merging beside it. A run that
// was killed, or that ran out of disk, leaves its finished shards there; the same call goes on
// after them, and another plan starts anew with a note. Two runs at once: the second gets an Error
// resource. Returns {"out", "tensors", "shards", "kept", "norm", "moved", ...}.
Json merge_into_folder(const MergePlan& plan,
                       const std::vector<std::shared_ptr<const Source>>& sources,
                       const fs::path& out, const MergeFolderOptions& options);

}  // namespace smidgen
