// All architectures, by the names in families.list.
#pragma once

#include "smidgen/base/registry.h"
#include "smidgen/nn/model.h"

namespace smidgen {

class Family {
 public:
  virtual ~Family() = default;
  virtual std::string summary() const = 0;
  virtual std::vector<std::string> model_types() const = 0;         // config.json "model_type"
  virtual std::vector<std::string> gguf_architectures() const = 0;  // GGUF general.architecture
  virtual std::unique_ptr<Model> load(const ModelFiles& files,
                                      const LoadOptions& options) const = 0;
};

void register_all(Registry<Family>& registry);  // written by the build
const Registry<Family>& families();

// The family of a model's files; unsupported, naming the architecture and what is known.
const Family& family_of(const ModelFiles& files);

}  // namespace smidgen
