// From a compressed delta to what every program reads: an adapter folder, or the fine-tuned model.
#pragma once

#include <string>

#include "smidgen/io/delta_files.h"

namespace smidgen {

// An ordinary adapter folder. Its sidecar says that it was compressed, so that it is not compressed
// again.
void decompress_adapter(const DeltaFiles& delta, const fs::path& out);

// base + difference, tensor by tensor, in the fine-tuned model's formats, as a folder in one file;
// configuration and tokenizer are the fine-tuned model's where they differ from the base's. Error
// mismatch when the base is not the one that the delta was made from, unless `allow_other`.
void decompress_model(const DeltaFiles& delta, const std::string& base, const fs::path& out,
                      bool allow_other = false);

}  // namespace smidgen
