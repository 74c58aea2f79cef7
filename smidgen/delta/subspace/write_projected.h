// Projected copies of a fine-tune, as files.
#pragma once

#include <functional>
#include <memory>

#include "smidgen/base/fs.h"
#include "smidgen/delta/subspace/projection.h"
#include "smidgen/io/adapter_files.h"

namespace smidgen {

// A LoRA adapter whose B are projected: A, configuration, names and number formats stay. Throws
// unsupported for what is no plain LoRA (DoRA, embeddings, biases, saved modules, GPT-2's turned
// matrices), naming the tensor; mismatch where the alignment has none of its sites.
void write_projected_adapter(const AdapterFiles& adapter, const Update& alignment,
                             const Subspace& subspace, ProjectionMode mode, const fs::path& out);

// A model folder with W_A + P: sums in fp32, each rounded once to the format that the aligned model
// stores it in (fp32 for block formats). What the change does not have is copied. Throws
// mismatch for a change of a tensor that the model does not store. The folder appears whole.
// Memory: for each thread one tensor in fp32 and what its projection takes.
void write_moved_model(std::shared_ptr<const Source> aligned, std::shared_ptr<const Update> change,
                       const fs::path& out, const std::function<void(int64_t bytes)>& wrote = {});

}  // namespace smidgen
