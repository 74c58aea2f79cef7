// A trained (or trainable) instance of a method on a model: its plan, its parameters, its files.
// Nothing here knows which method it is.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/io/adapter_files.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

struct AdapterLoadOptions {
  std::vector<std::string> allow_config_keys;  // unknown keys of adapter_config.json to let through
};

class Adapter {
 public:
  // A fresh one. `config` holds the method's own fields; `seed` decides the starting values.
  static std::unique_ptr<Adapter> create(const Model& model, const std::string& method,
                                         const Json& config, uint64_t seed);
  // The same without memory: shapes that can be attached and counted, and no values.
  static std::unique_ptr<Adapter> planned(const Model& model, const std::string& method,
                                          const Json& config);

  // From a folder. The tensors are the truth: each must find its place and shape, and at least one
  // must; a site of the configuration without tensors is left out with a note. Errors list both
  // sides and the nearest names. A base weight that PEFT stored along (`X.base_layer.weight`)
  // stands in for the model's where the two differ. A model's compressed delta becomes one of the
  // method `full` without parameters (methods/stored_delta.h): it cannot be trained, nor saved.
  static std::unique_ptr<Adapter> load(const Model& model, const AdapterFiles& files,
                                       const AdapterLoadOptions& options = {});
  static std::unique_ptr<Adapter> load(const Model& model, const fs::path& folder,
                                       const AdapterLoadOptions& options = {});

  // Writes the folder (see io/adapter_files.h). `base` names the base in adapter_config.json. One
  // that was loaded is written as it was read: configuration, number formats, names; an empty
  // `base` keeps its name too. So saving what PEFT wrote gives its bytes again.
  void save(const fs::path& folder, const std::string& base, const Json& sidecar,
            bool replace = false) const;
  Json peft_config(const std::string& base) const;

  // Hangs the attachments on the model's sites at `slot`, beside what hangs there. Throws usage
  // when a whole weight is replaced twice at one site and slot, unsupported when `scale` is not 1
  // and something of the adapter cannot be scaled.
  void attach(Model& model, int slot, double scale = 1) const;
  static void detach(Model& model, int slot);
  // Throws unsupported unless every part of the adapter can be scaled.
  void check_scalable(double scale) const;

  // Moved by whoever trains; the attachments drop elements while it is on.
  DropoutClock& dropout() { return *clock_; }

  const std::string& method_name() const { return method_name_; }
  const Method& method() const { return *method_; }
  const Json& config() const { return config_; }
  const Plan& plan() const { return plan_; }
  const SitePart& part(const SitePlan& site) const { return site.part ? *site.part : *method_; }
  ParamStore& store() { return store_; }
  const ParamStore& store() const { return store_; }
  Tensors values(const SitePlan& site) const;       // leaves of the graph, in the plan's order
  const Json& sidecar() const { return sidecar_; }  // smidgen.json as read, or null

 private:
  Adapter(std::string method, Json config);
  void make_plan(const Model& model, bool loading);
  void allocate(bool planned = false);
  void read_tensors(const Model& model, const AdapterFiles& files);
  void check_complete(const AdapterFiles& files);
  void take_base_weights(const Model& model, const AdapterFiles& files);
  void check_left(const TensorStore& tensors, const Plan& planned, bool any) const;
  void check_aliases(const TensorStore& tensors) const;

  std::string method_name_;
  const Method* method_;
  Json config_;
  Plan plan_;
  ParamStore store_;
  std::shared_ptr<DropoutClock> clock_ = std::make_shared<DropoutClock>();

  // Of a loaded one.
  Json read_config_;  // adapter_config.json; null for a fresh one
  Json sidecar_;
  std::shared_ptr<const TensorStore> read_file_;  // keeps `carried_` alive
  std::vector<NamedTensor> carried_;              // tensors of the file that train nothing
  std::map<std::string, Format> formats_;         // of the file's tensors
};

// "base_model.model." + path: PEFT's name of a tensor in the file.
std::string adapter_tensor_name(const std::string& path);
std::string adapter_tensor_name(const ParamSpec& spec);

}  // namespace smidgen
