// The weights of an HF folder: model.safetensors, or shards with an index.
#pragma once

#include <filesystem>

#include "smidgen/convert/hf_folder.h"

namespace smidgen {

// The format in which a tensor of the model is written under options.dtype.
Format written_format(const ModelTensor& tensor, const ModelFiles& files, const std::string& dtype);

void write_hf_weights(const Model& model, const ModelFiles& files, const fs::path& folder,
                      const HfFolderOptions& options);

}  // namespace smidgen
