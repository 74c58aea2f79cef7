// smidgen bench load: how long a model, its tokenizer and its adapters take from files to memory.
#pragma once

#include "smidgen/methods/open_model.h"

namespace smidgen {

// Median seconds over `runs` of {open, weights, tokenizer, digest, adapter (read, checked and
// attached, one by one)}; the digest is that of the base, without what the cache knows.
Json measure_load(const ModelConfig& config, int64_t runs);

}  // namespace smidgen
