// A model as one GGUF file: what llama.cpp, and everything that reads its files, opens.
#pragma once

#include <filesystem>
#include <string>

#include "smidgen/io/model_files.h"
#include "smidgen/nn/model.h"

namespace smidgen {

struct GgufFileOptions {
  // Format of the matrices. native: bf16 or fp16 where the model's files store it, else fp32, which
  // holds the values of block formats exactly.
  std::string dtype = "native";  // native, fp32, bf16, fp16, q8_0, q4_0, q4_1
};

// Metadata, tokenizer, chat template and the model's current weights (merged values where an
// adapter is merged) under GGUF's names and in its layouts, by the family's tables
// (nn/families/gguf_map.h). As llama.cpp's converter has it: vectors, norms, routers and positions
// stay fp32, and in a block format a matrix whose rows are not whole blocks becomes fp16, with a
// note. Rows stream through, so memory does not grow with the model; the file appears whole or not
// at all.
// Throws usage when `out` exists, data for a value that does not fit the format, unsupported where
// GGUF cannot say the configuration or the tokenizer.
void write_gguf_file(const Model& model, const ModelFiles& files, const fs::path& out,
                     const GgufFileOptions& options = {});

// The check on `out` alone, for callers that want it before the work.
void check_new_file(const fs::path& out);

// "135M", "8.0B": a number of parameters as llama.cpp's converter writes general.size_label.
std::string size_label(int64_t parameters);

}  // namespace smidgen
