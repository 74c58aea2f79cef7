// The files that make a model, found and read but not interpreted: which family it is, and what its
// tensors are called there, is for nn/families.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/tensor_store.h"

namespace smidgen {

struct ModelFiles {
  enum class Kind { folder, gguf };

  Kind kind = Kind::folder;
  fs::path path;            // the folder or the GGUF file
  Json config;              // config.json; null for GGUF, whose metadata are in `gguf`
  Json generation_config;   // null when absent
  Json tokenizer_config;    // null when absent
  Json special_tokens_map;  // null when absent
  std::optional<fs::path> tokenizer_json;
  std::optional<fs::path> tokenizer_model;  // SentencePiece's; looked at without the one above
  std::string chat_template;                // empty when there is none
  // Where the model has several: by name, the one above as "default".
  std::vector<std::pair<std::string, std::string>> chat_templates;
  std::shared_ptr<const TensorStore> tensors;
  std::shared_ptr<const GgufFile> gguf;  // null for folders
  std::vector<fs::path> weight_files;    // sorted
  std::vector<fs::path> adapters;        // named after '+', in order; not opened here
  // No tensor of its own for the output matrix (lm_head.weight, output.weight): tied to the
  // embedding, if the model has such a matrix at all.
  bool lm_head_absent = false;

  // SHA-256: of the GGUF file, or of the lines "DIGEST  NAME\n" over the sorted weight files of a
  // folder. Reads all weights on the first call; the result is kept for later calls on any copy.
  std::string digest() const;

  struct DigestCache;
  std::shared_ptr<DigestCache> digest_cache;
};

// `spec` is a folder, a GGUF file, or BASE+ADAPTER[+ADAPTER]; a path that exists as written wins
// over splitting at '+'. Refused in words: folders with pickled weights only, an adapter where a
// base is needed, a folder without config.json or weights, one part of a split GGUF.
ModelFiles open_model(const std::string& spec);

}  // namespace smidgen
