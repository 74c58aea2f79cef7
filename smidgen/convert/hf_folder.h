// A model as a Hugging Face folder: what transformers, and everything that reads its folders,
// opens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "smidgen/base/json.h"
#include "smidgen/io/model_files.h"
#include "smidgen/nn/model.h"

namespace smidgen {

struct HfFolderOptions {
  // native: each tensor as the model's files store it, where that is a plain format; fp32 for
  // GGUF's block formats.
  std::string dtype = "native";         // native, fp32, bf16, fp16
  int64_t shard_bytes = 5'000'000'000;  // a larger model is cut into several files with an index;
                                        // tensors are never cut
  bool replace = false;  // a model folder that smidgen wrote (it holds smidgen.json) is swapped out
  Json sidecar = nullptr;  // smidgen.json; null: none
};

// Writes config.json, generation_config.json, weights, tokenizer and chat template. The weights are
// the model's current ones: merged values where an adapter is merged. Tokenizer files of a folder
// are copied as they are; those of a GGUF file are made from its metadata (text/tokenizer.h). Rows
// stream through, so memory does not grow with the model. The folder appears whole or not at all.
// Throws usage when `out` exists and is not an empty folder, data when a value does not fit fp16.
void write_hf_folder(const Model& model, const ModelFiles& files, const fs::path& out,
                     const HfFolderOptions& options = {});

// Tokenizer and chat template of `files` into `folder`, as write_hf_folder has them.
void write_tokenizer_files(const ModelFiles& files, const fs::path& folder);

// The check on `out` alone, for callers that want it before the work.
void check_new_folder(const fs::path& out, bool replace = false);

}  // namespace smidgen
