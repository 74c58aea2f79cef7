// A LoRA adapter that is being made, module by module, and its folder. Every update goes in with
// scale 1: alpha is the rank, and modules of another rank than the largest stand in rank_pattern
// and alpha_pattern by their whole path.
#pragma once

#include <string>
#include <vector>

#include "smidgen/delta/adapters/lora_file.h"

namespace smidgen {

class LoraFolder {
 public:
  // `config` is a configuration of PEFT's to start from, lora_default_config() for one of its own.
  explicit LoraFolder(Json config) : config_(std::move(config)) {}

  // `place` without its rank and scale, which follow from the factors.
  void add(LoraPlace place, const LoraValues& values);
  // Values that stand in for the base's own. The bytes must outlive the folder.
  void keep(const std::string& name, const TensorView& view);

  Json& config() { return config_; }
  int64_t rank() const;  // the largest
  const std::vector<LoraPlace>& places() const { return places_; }
  std::vector<std::string> modules() const;

  // Puts r, lora_alpha, the patterns, use_rslora (false) and lora_bias into the configuration, and
  // the target modules: names that pick just the modules of this adapter out of `all`, else paths.
  void finish(const std::vector<std::string>& all = {});
  void write(const fs::path& path, const Json& sidecar) const;

 private:
  Json config_;
  std::vector<LoraPlace> places_;
  std::vector<LoraValues> values_;
  std::vector<NamedTensor> others_;
};

// What PEFT 0.21.2 writes for a LoRA adapter with everything at its default, for `base`.
Json lora_default_config(const std::string& base);

}  // namespace smidgen
