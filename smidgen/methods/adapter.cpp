#include "smidgen/methods/adapter.h"

#include <set>

#include <torch/torch.h>

#include "smidgen/base/log.h"
#include "smidgen/base/schema.h"
#include "smidgen/io/dequantise.h"

namespace smidgen {

namespace {
constexpr const char* kPrefix = "base_model.model.";
// What the written configuration claims to be made by: the release whose fields we follow.
constexpr const char* kPeftVersion = "0.21.2";
}  // namespace

const std::vector<std::string>& adapter_keys() {
  static const std::vector<std::string> keys = {"auto_mapping",   "base_model_name_or_path",
                                                "inference_mode", "peft_type",
                                                "peft_version",   "revision",
                                                "task_type"};
  return keys;
}

std::string adapter_tensor_name(const ParamSpec& spec) {
  return kPrefix + spec.path();
}

Adapter::Adapter(const Model&, std::string method, Json config)
    : method_name_(std::move(method)), method_(&methods().find(method_name_)) {
  config_ = check_fields(method_->fields(), config, "method");
}

void Adapter::allocate() {
  std::vector<ParamSpec> specs;
  std::set<std::string> seen;
  for (const SitePlan& site : plan_.sites) {
    for (const ParamSpec& spec : site.parameters) {
      if (seen.insert(spec.path()).second) specs.push_back(spec);
    }
  }
  store_.add(specs);
}

std::unique_ptr<Adapter> Adapter::create(const Model& model, const std::string& method,
                                         const Json& config, uint64_t seed) {
  std::unique_ptr<Adapter> a(new Adapter(model, method, config));
  a->plan_ = a->method_->plan(model.sites(), a->config_, /*loading=*/false);
  a->allocate();
  std::set<std::string> done;
  for (const SitePlan& site : a->plan_.sites) {
    std::vector<Parameter*> parameters;
    bool fresh = false;
    for (const ParamSpec& spec : site.parameters) {
      parameters.push_back(&a->store_.find(spec.path()));
      fresh |= done.insert(spec.path()).second;
    }
    if (!fresh) continue;
    const HostSite at = model.find(site.site.name);
    a->method_->init(site, parameters, {at.host, at.index}, a->config_, seed);
  }
  return a;
}

std::unique_ptr<Adapter> Adapter::load(const Model& model, const fs::path& folder,
                                       const AdapterLoadOptions& options) {
  return load(model, read_adapter(folder), options);
}

std::unique_ptr<Adapter> Adapter::load(const Model& model, const AdapterFiles& files,
                                       const AdapterLoadOptions& options) {
  const std::string where = (files.path / "adapter_config.json").string();
  const auto& [name, method] =
      method_of_peft_type(files.config.at("peft_type").get<std::string>(), where);
  Json kept = Json::object();
  const Json config = method->from_peft(files.config, options.allow_config_keys, where, &kept);
  std::unique_ptr<Adapter> a(new Adapter(model, name, config));
  a->kept_ = std::move(kept);
  for (const std::string& key : adapter_keys()) {
    if (files.config.contains(key)) a->container_[key] = files.config.at(key);
  }
  a->plan_ = a->method_->plan(model.sites(), a->config_, /*loading=*/true);
  a->read_tensors(files);
  return a;
}

void Adapter::read_tensors(const AdapterFiles& files) {
  const TensorStore& tensors = *files.tensors;
  std::vector<std::string> expected, missing;
  std::vector<SitePlan> present;
  for (const SitePlan& site : plan_.sites) {
    size_t have = 0;
    for (const ParamSpec& spec : site.parameters) {
      expected.push_back(adapter_tensor_name(spec));
      have += tensors.contains(expected.back());
    }
    if (have == site.parameters.size()) {
      present.push_back(site);
    } else if (have > 0) {
      for (const ParamSpec& spec : site.parameters) {
        if (!tensors.contains(adapter_tensor_name(spec)))
          missing.push_back(adapter_tensor_name(spec));
      }
    }
  }
  const std::string where = tensors.where();
  if (!missing.empty()) {
    throw Error(ErrorKind::mismatch, str("the adapter lacks ", join(missing, ", ", 6)), where,
                "its other tensors of the same modules are there");
  }
  std::set<std::string> known(expected.begin(), expected.end());
  std::vector<std::string> left;
  for (const std::string& name : tensors.names()) {
    if (!known.contains(name)) left.push_back(name);
  }
  if (present.empty() || !left.empty()) {
    const std::string found = join(left.empty() ? tensors.names() : left, ", ", 4);
    throw Error(
        ErrorKind::mismatch,
        present.empty() ? str("no tensor of the adapter applies to this model; it holds ", found)
                        : str(left.size(), " tensors of the adapter apply to nothing: ", found),
        where,
        did_you_mean(
            left.empty() ? std::string() : left.front(), expected,
            str("the model expects ", expected.empty() ? "none" : join(expected, ", ", 4))));
  }
  if (present.size() < plan_.sites.size()) {
    log_note(str("the adapter's configuration names ", plan_.sites.size(),
                 " modules and its file has tensors for ", present.size()));
  }
  plan_.sites = std::move(present);
  allocate();
  for (const auto& p : store_.parameters()) {
    const std::string name = adapter_tensor_name(p->spec());
    const TensorView view = tensors.view(name);
    if (view.shape != p->spec().shape) {
      throw Error(ErrorKind::mismatch,
                  str("tensor ", name, " has shape ", shape_str(view.shape),
                      " where base and configuration give ", shape_str(p->spec().shape)),
                  where, "the adapter was made for another base, or its configuration was edited");
    }
    at::Tensor values = p->value().detach();
    to_f32(view, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  }
}

Json Adapter::peft_config(const std::string& base) const {
  Json config = kept_;
  config["auto_mapping"] = nullptr;
  config["base_model_name_or_path"] = base;
  config["inference_mode"] = true;
  config["peft_type"] = method_->peft_type();
  config["peft_version"] = kPeftVersion;
  config["revision"] = nullptr;
  config["task_type"] = "CAUSAL_LM";
  for (const auto& [key, value] : container_.items()) {
    if (key != "inference_mode" && key != "base_model_name_or_path") config[key] = value;
  }
  const Json own = method_->to_peft(config_, plan_);
  for (const auto& [key, value] : own.items()) config[key] = value;
  return config;
}

void Adapter::save(const fs::path& folder, const std::string& base, const Json& sidecar,
                   bool replace) const {
  std::vector<NamedTensor> tensors;
  Tensors alive;
  for (const auto& p : store_.parameters()) {
    alive.push_back(p->value().detach().contiguous());
    const at::Tensor& t = alive.back();
    TensorView view;
    view.format = Format::f32;
    view.shape = p->spec().shape;
    view.bytes =
        std::as_bytes(std::span(t.const_data_ptr<float>(), static_cast<size_t>(t.numel())));
    tensors.push_back({adapter_tensor_name(p->spec()), view});
  }
  write_adapter(folder, peft_config(base), tensors, sidecar, {.replace = replace});
}

Tensors Adapter::values(const SitePlan& site) const {
  Tensors tensors;
  for (const ParamSpec& spec : site.parameters) tensors.push_back(store_.find(spec.path()).value());
  return tensors;
}

void Adapter::attach(Model& model, int slot) const {
  for (const SitePlan& site : plan_.sites) {
    model.find(site.site.name).slots().attach(slot, method_->attach(site, values(site)));
  }
}

void Adapter::detach(Model& model, int slot) {
  for (const auto& host : model.hosts()) {
    for (size_t i = 0; i < host->sites().size(); ++i) host->slots(i).detach(slot);
  }
}

}  // namespace smidgen
