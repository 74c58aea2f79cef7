// LoRA adapters out of GGUF files, in the layout of ggml-org/llama.cpp's convert_lora_to_gguf.py.
//   general.type "adapter", adapter.type "lora", adapter.lora.alpha
//   NAME.weight.lora_a [r, in] and NAME.weight.lora_b [out, r] under the base's GGUF names; rows of
//   lora_b lie as those of the base do. The embedding has lora_a [tokens, r], lora_b [width, r].
// llama.cpp scales each pair by alpha / r, or by 1 where alpha is 0. convert/gguf_adapter.h writes
// them.
#pragma once

#include "smidgen/io/adapter_files.h"
#include "smidgen/io/model_files.h"

namespace smidgen {

// The adapter as if PEFT had written it, in fp32. The base gives the names. Error mismatch: another
// architecture, a matrix without its partner, a name that the family does not know. Error
// unsupported: not a LoRA, an activated LoRA, vectors, experts.
AdapterFiles read_gguf_adapter(const fs::path& file, const ModelFiles& base);

}  // namespace smidgen
