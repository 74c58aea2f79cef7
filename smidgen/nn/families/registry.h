// All architectures, by the names in families.list.
#pragma once

#include "smidgen/base/registry.h"
#include "smidgen/nn/config_key.h"
#include "smidgen/nn/model.h"
#include "smidgen/nn/rope_scaling.h"
#include "smidgen/nn/weight_table.h"

namespace smidgen {

// A tensor of a model folder: HF's name and shape.
struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
};

class Family {
 public:
  virtual ~Family() = default;
  virtual std::string summary() const = 0;
  virtual std::vector<std::string> model_types() const = 0;         // config.json "model_type"
  virtual std::vector<std::string> gguf_architectures() const = 0;  // GGUF general.architecture
  // A metadata key after the architecture that only this family's files have: Mixtral's are of
  // architecture llama with an expert_count. Empty for a family that is an architecture's default.
  virtual std::string gguf_marker() const { return {}; }
  virtual std::string model_class() const = 0;  // config.json "architectures"

  // The tables that gguf_map.h walks in both directions.
  virtual const KeyTable& keys() const = 0;
  virtual const TensorRows& tensors() const = 0;
  // Of a config.json of this family; what rotated and interleaved rows are counted in.
  virtual int64_t head_dim(const Json& config) const = 0;
  // The rotations that a config.json of this family asks for; the first is the one GGUF describes.
  virtual std::vector<RopeSpec> ropes(const Json& config) const = 0;
  // Every tensor that a folder with this config.json holds.
  virtual std::vector<NamedShape> shapes(const Json& config) const = 0;
  // True when two configurations describe the same computation.
  virtual bool same_model(const Json& a, const Json& b) const = 0;

  virtual std::unique_ptr<Model> load(const ModelFiles& files,
                                      const LoadOptions& options) const = 0;
};

void register_all(Registry<Family>& registry);  // written by the build
const Registry<Family>& families();

// The family of a model's files; unsupported, naming the architecture and what is known.
const Family& family_of(const ModelFiles& files);
// The family of a config.json, by its model_type.
const Family& family_of(const Json& config, const std::string& where);

}  // namespace smidgen
