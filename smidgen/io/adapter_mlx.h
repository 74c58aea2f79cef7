// LoRA adapters that mlx-lm trained: adapter_config.json with "lora_parameters" and
// adapters.safetensors. Source: ml-explore/mlx-lm (mlx_lm/tuner/lora.py, utils.py).
//   mlx    y += scale (x A) B,       MODULE.lora_a [in, r], MODULE.lora_b [r, out]
//   PEFT   y += alpha/r (x A^T) B^T, base_model.model.MODULE.lora_A.weight [r, in], lora_B [out, r]
// so both matrices are transposed and alpha = scale r. Embeddings ([tokens, r], [r, width]) become
// lora_embedding_A and lora_embedding_B in the same way.
#pragma once

#include "smidgen/io/adapter_files.h"

namespace smidgen {

// A folder with adapters.safetensors, or whose configuration has "lora_parameters".
bool is_mlx_adapter(const fs::path& folder);

// The adapter as if PEFT had written it. Error unsupported: full and DoRA training, matrices per
// expert, weights as .npz. Error format or mismatch, with file, key and tensor: a configuration
// without rank or scale, a matrix without its partner, ranks that differ.
AdapterFiles read_mlx_adapter(const fs::path& folder);

}  // namespace smidgen
