// LoRA adapters into GGUF files, for llama.cpp. methods/adapter_gguf.h has the layout, and reads
// them.
#pragma once

#include <map>
#include <string>

#include "smidgen/base/fs.h"
#include "smidgen/nn/delta.h"
#include "smidgen/nn/model.h"

namespace smidgen {

// Low-rank deltas by site, from any method that has them. One alpha stands for all sites: where a
// site's own scale differs, its lora_b is multiplied. `dtype`: native and fp32, bf16, fp16, q8_0
// (fp16 where r is not whole blocks). Throws usage when `out` exists, unsupported for a dense delta
// or a site that GGUF has no name for.
void write_gguf_adapter(const Model& model, const std::map<std::string, Delta>& deltas,
                        const fs::path& out, const std::string& dtype);

}  // namespace smidgen
