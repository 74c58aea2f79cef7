// One side of a comparison: whatever a path names, as tensors and documents.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/delta/diff/key_difference.h"
#include "smidgen/delta/diff/tensor_difference.h"
#include "smidgen/delta/source.h"
#include "smidgen/io/tensor_store.h"

namespace smidgen {

// The tensors of a store, under its names.
std::shared_ptr<const Source> store_source(std::string label,
                                           std::shared_ptr<const TensorStore> store);

// Folder of an adapter (PEFT's or mlx-lm's), or GGUF file of one.
bool is_adapter_path(const fs::path& path);

struct Subject {
  enum class Kind { folder, gguf, adapter, safetensors, sum };  // sum: BASE+ADAPTER
  Kind kind = Kind::folder;
  std::string label;
  std::shared_ptr<const Source> tensors;
  std::vector<std::pair<std::string, Json>> documents;  // by file name
};

struct Difference {
  std::string first, second;  // labels
  std::vector<TensorDifference> tensors;
  std::vector<KeyDifference> keys;
  bool equal() const;
  Json to_json() const;
};

// Two models, two adapters, two GGUF or two safetensors files. Tensors go by the names in the
// files; where a folder meets a GGUF file, or a base with adapters a model, by HF's, and the
// configuration in config.json's words. tokenizer.json is compared key by key, its vocabulary and
// merges as counts and digests; a GGUF file's arrays likewise. Throws mismatch for an adapter and a
// model.
Difference difference(const std::string& first, const std::string& second,
                      bool allow_other_base = false,
                      const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace smidgen
