// Whether a merge wrote the model that a law says it must be.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/source.h"

namespace smidgen {

// A plan whose settings give back one of its models: each tensor is a copy of that model's, or
// MergeMethod::same_as says so, no layer is missing or moved, and the configuration says the same.
struct MergeLaw {
  std::optional<size_t> model;  // in models_of(recipe)
  bool lossless = false;        // nothing is rounded when it is written
  std::string why;              // no model: what keeps any law from holding
};
// `given` are the models as the recipe names them, `sources` as they are merged (with other
// vocabularies, say); `formats` as in MergeOptions.
MergeLaw law_of(const MergePlan& plan, const std::vector<std::shared_ptr<const Source>>& given,
                const std::vector<std::shared_ptr<const Source>>& sources,
                const std::vector<Format>& formats);

// Before anything is written: throws unsupported where no family knows the model, so that there
// would be no logits to compare.
void require_logits(const Source& model);

// Compares the logits of what lies in `out` with those of the model (convert/verify.h), writes the
// figures into its smidgen.json and returns them. Throws mismatch where a lossless result differs.
Json verify_merge(const Source& model, bool lossless, bool allow_other_base, const fs::path& out);

}  // namespace smidgen
