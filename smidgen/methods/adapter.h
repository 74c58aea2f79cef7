// A trained (or trainable) instance of a method on a model: its plan, its parameters, its files.
// Nothing here knows which method it is.
#pragma once

#include <filesystem>
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

  // From a folder. The tensors are the truth: each must find its place and shape, and at least one
  // must; a site of the configuration without tensors is left out with a note. Errors list both
  // sides and the nearest names.
  static std::unique_ptr<Adapter> load(const Model& model, const AdapterFiles& files,
                                       const AdapterLoadOptions& options = {});
  static std::unique_ptr<Adapter> load(const Model& model, const fs::path& folder,
                                       const AdapterLoadOptions& options = {});

  // Writes the folder (see io/adapter_files.h). `base` names the base in adapter_config.json.
  void save(const fs::path& folder, const std::string& base, const Json& sidecar,
            bool replace = false) const;
  Json peft_config(const std::string& base) const;

  // Hangs the attachments on the model's sites at `slot`, and takes them away again.
  void attach(Model& model, int slot) const;
  static void detach(Model& model, int slot);

  const std::string& method_name() const { return method_name_; }
  const Method& method() const { return *method_; }
  const Json& config() const { return config_; }
  const Plan& plan() const { return plan_; }
  ParamStore& store() { return store_; }
  const ParamStore& store() const { return store_; }
  Tensors values(const SitePlan& site) const;  // leaves of the graph, in the plan's order

 private:
  Adapter(const Model& model, std::string method, Json config);
  void allocate();
  void read_tensors(const AdapterFiles& files);

  std::string method_name_;
  const Method* method_;
  Json config_;
  Json kept_ =
      Json::object();  // keys of the folder's configuration that we do not know, kept for rewriting
  Json container_ = Json::object();  // task_type and the like, as read
  Plan plan_;
  ParamStore store_;
};

// "base_model.model." + path: PEFT's name of a tensor in the file.
std::string adapter_tensor_name(const ParamSpec& spec);

}  // namespace smidgen
