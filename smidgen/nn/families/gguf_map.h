// What a GGUF file says of a model and what config.json and HF's tensors say, each made from the
// other by a family's two tables. No family has code of its own here.
#pragma once

#include <string>
#include <vector>

#include "smidgen/nn/families/registry.h"

namespace smidgen {

// The metadata of a GGUF file in config.json's words, as a folder of the family would hold them.
// Rotary settings are written as rope_theta and rope_scaling, which all versions of transformers
// read. Frequencies that GGUF stores as a tensor of factors (llama3, longrope) become longrope with
// those factors, which computes the same.
Json config_of_gguf(const Family& family, const GgufFile& file);

// One metadata pair; integers are u32, numbers f32.
struct GgufPair {
  std::string key;
  GgufType type = GgufType::u32;
  Json value;
};

// config.json in GGUF's words: general.architecture and all that stands below the architecture's
// name. A field whose value GGUF cannot say is unsupported, naming it. Conventions are those of
// ggml-org/llama.cpp's convert_hf_to_gguf.py.
std::vector<GgufPair> gguf_metadata(const Family& family, const Json& config);

// The model's tensors under GGUF's names, shapes and layouts: rows permuted, one added, experts
// stacked, rotary factors as tensors. `rows` counts over all leading dimensions. The order is the
// model's.
std::vector<ModelTensor> gguf_tensors(const Family& family, const Model& model);

}  // namespace smidgen
