// A LoRA adapter as a set of low-rank updates by module, read without its base: what adapters are
// combined from. Shapes, ranks and scales are known at once, factors are read one module at a time.
#pragma once

#include <string>
#include <vector>

#include "smidgen/io/adapter_files.h"
#include "smidgen/nn/delta.h"

namespace smidgen {

// One module's update: scale B A, and scale times the bias of B.
struct LoraPlace {
  std::string module;  // HF's path
  bool embedding = false;
  int64_t in = 0, out = 0, rank = 0;
  std::vector<int64_t> kernel = {};  // of a convolution; `in` counts channels times its elements
  double scale = 1;                  // alpha / rank, or alpha / sqrt(rank) with use_rslora
  bool bias = false;

  std::string a_name() const;  // in the file
  std::string b_name() const;
  std::string bias_name() const;
};

struct LoraValues {
  at::Tensor a, b;  // fp32 [rank, in], [out, rank]
  at::Tensor bias;  // fp32 [out], or undefined
};

class LoraFile {
 public:
  // A folder of PEFT's or of mlx-lm's. Throws unsupported, in words, for what is no sum of B A:
  // another peft_type, DoRA and PEFT's other extensions, an initialisation that changed the base;
  // mismatch, naming the tensor, where factors, configured rank and shapes do not fit together.
  explicit LoraFile(const fs::path& path, const std::vector<std::string>& allow_config_keys = {});

  std::string label() const { return files_.path.string(); }
  const AdapterFiles& files() const { return files_; }
  const Json& config() const { return files_.config; }
  const std::vector<LoraPlace>& places() const { return places_; }  // by module, sorted
  const LoraPlace* find(const std::string& module) const;
  // Throws data, naming the tensor, where a value is not finite.
  LoraValues read(const LoraPlace& place) const;
  // Tensors that are no factors: copies of modules, biases, token rows, base weights kept beside.
  const std::vector<std::string>& others() const { return others_; }
  // Of the base it was trained on, as smidgen records it; empty where nobody did.
  std::string base_digest() const;

 private:
  void find_places();
  LoraPlace place_of(const std::string& module, bool embedding) const;
  AdapterFiles files_;
  Json settings_;  // in our words
  std::vector<LoraPlace> places_;
  std::vector<std::string> others_;
};

}  // namespace smidgen
