// An adapter folder in PEFT's layout: adapter_config.json, adapter_model.safetensors, and our
// sidecar smidgen.json. Source: huggingface/peft 0.21.2 (peft_model.py, config.py).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/io/tensor_store.h"

namespace smidgen {

struct DeltaFiles;

struct AdapterFiles {
  fs::path path;
  Json config;  // keys in file order
  std::shared_ptr<const TensorStore> tensors;
  Json sidecar;  // smidgen.json, or null
  // Of a model's compressed delta, whose `tensors` are the codes; else null.
  std::shared_ptr<const DeltaFiles> delta;
};

// The folder of an adapter: `path` itself, or the one folder inside it that holds one, because PEFT
// saves an adapter of another name than "default" in a folder of that name. Errors: what stands
// there instead, or which adapters there are to choose from.
fs::path find_adapter(const fs::path& path);

// Refused in words: a base model in place of an adapter, pickled weights (adapter_model.bin), a
// missing or empty configuration, a configuration without peft_type. The factors of a compressed
// adapter (io/delta_files.h) are unfolded in memory; the delta of a whole model stays in its codes.
AdapterFiles read_adapter(const fs::path& path);

struct WriteAdapterOptions {
  bool replace = false;  // an existing folder is an Error usage otherwise
};

// The whole folder appears at once; an old one is swapped out, never mixed. `config` is written as
// PEFT dumps it (see python_json), tensors with metadata {"format": "pt"}; a null sidecar is left
// out.
void write_adapter(const fs::path& path, const Json& config,
                   const std::vector<NamedTensor>& tensors, const Json& sidecar,
                   WriteAdapterOptions options = {});

}  // namespace smidgen
