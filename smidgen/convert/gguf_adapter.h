// LoRA adapters as GGUF files, in the layout of ggml-org/llama.cpp's convert_lora_to_gguf.py.
//   general.type "adapter", adapter.type "lora", adapter.lora.alpha
//   NAME.weight.lora_a [r, in] and NAME.weight.lora_b [out, r] under the base's GGUF names; rows of
//   lora_b lie as those of the base do. The embedding has lora_a [tokens, r], lora_b [width, r].
// llama.cpp scales each pair by alpha / r, or by 1 where alpha is 0.
#pragma once

#include <map>

#include "smidgen/io/adapter_files.h"
#include "smidgen/io/model_files.h"
#include "smidgen/nn/delta.h"
#include "smidgen/nn/model.h"

namespace smidgen {

// The adapter as if PEFT had written it, in fp32. The base gives the names. Error mismatch: another
// architecture, a matrix without its partner, a name that the family does not know. Error
// unsupported: not a LoRA, an activated LoRA, vectors, experts.
AdapterFiles read_gguf_adapter(const fs::path& file, const ModelFiles& base);

// An adapter in any layout: a GGUF file, a folder of mlx-lm, else a folder of PEFT.
AdapterFiles open_adapter(const fs::path& path, const ModelFiles& base);

// Low-rank deltas by site, from any method that has them. One alpha stands for all sites: where a
// site's own scale differs, its lora_b is multiplied. `dtype`: native and fp32, bf16, fp16, q8_0
// (fp16 where r is not whole blocks). Throws usage when `out` exists, unsupported for a dense delta
// or a site that GGUF has no name for.
void write_gguf_adapter(const Model& model, const std::map<std::string, Delta>& deltas,
                        const fs::path& out, const std::string& dtype);

}  // namespace smidgen
