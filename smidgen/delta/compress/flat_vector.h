// What is compressed: the trained part of an adapter, or the difference of two models, as one long
// vector in the order of the tensors' names.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {

struct FlatTensor {
  std::string name;
  TensorView tuned;
  TensorView base;   // without bytes: the difference is from `start`
  double start = 0;  // 1 for IA3, whose vectors start at 1
  float factor = 1;  // what the difference is multiplied by; 1 where there is a base

  int64_t elements() const { return tuned.elements(); }
  int64_t columns() const { return tuned.shape.empty() ? 1 : tuned.shape.back(); }
};

// Some consecutive elements of one tensor.
struct FlatPiece {
  size_t tensor = 0;
  int64_t begin = 0, count = 0;
};

struct FlatVector {
  std::vector<FlatTensor> tensors;            // by name, bytewise
  std::vector<NamedTensor> exact;             // kept as they are
  std::map<std::string, std::string> copies;  // tensor -> the one that it equals
  std::vector<std::string> unmoved;           // equal to the base, so they are no part of it
  bool adapter = true;
  std::string base_digest;  // of a model
  Json adapter_config, sidecar;
  std::vector<std::pair<std::string, std::string>> texts;
  uint64_t source_bytes = 0;  // what the update takes before: an adapter's file, or the changed
                              // tensors of a model
  // That the views lie in: the adapter's, or the base's and the tuned model's.
  std::vector<std::shared_ptr<const TensorStore>> stores;

  int64_t elements() const;
  // fp32: factor (tuned - base).
  void read(const FlatPiece& piece, std::span<float> out) const;
  // The same, in the file where it lies there so, else in `buffer`.
  std::span<const float> values(const FlatPiece& piece, std::vector<float>& buffer) const;
  void release(const FlatPiece& piece) const;
  // Every tensor cut at multiples of `size`, in order.
  std::vector<FlatPiece> pieces(int64_t size) const;
};

// A folder of PEFT's with peft_type LORA or IA3. LoRA: the factors A and B, base 0; IA3: its
// vectors, base 1. What else the folder holds (magnitudes of DoRA, biases, copied modules) stays
// exact. Error unsupported for other types; usage for an adapter that is compressed already: a
// second pass would take the first one's scale for the spread of the values.
FlatVector adapter_vector(const fs::path& folder);

// Two model folders with the same tensors. A tensor that equals the base's is left out and named in
// `unmoved`; a matrix that equals another one in both models (a tied head) is kept once. Tensors of
// whole numbers that differ stay exact. Error mismatch for other names or shapes.
FlatVector model_vector(const std::string& base, const std::string& tuned);

// Text files of a model folder beside its weights: configuration, tokenizer, chat template.
std::vector<std::string> model_texts(const fs::path& folder);

}  // namespace smidgen
