#include "smidgen/methods/adapter.h"

#include <set>

#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/methods/copies.h"

namespace smidgen {

namespace {
// What the written configuration claims to be made by: the release whose fields we follow.
constexpr const char* kPeftVersion = "0.21.2";

at::ScalarType scalar_of(Format format) {
  return format == Format::bf16  ? at::kBFloat16
         : format == Format::f16 ? at::kHalf
         : format == Format::f64 ? at::kDouble
                                 : at::kFloat;
}
}  // namespace

const std::vector<std::string>& adapter_keys() {
  static const std::vector<std::string> keys = {"auto_mapping",   "base_model_name_or_path",
                                                "inference_mode", "peft_type",
                                                "peft_version",   "revision",
                                                "task_type"};
  return keys;
}

std::string adapter_tensor_name(const std::string& path) {
  return "base_model.model." + path;
}
std::string adapter_tensor_name(const ParamSpec& spec) {
  return adapter_tensor_name(spec.path());
}

Adapter::Adapter(std::string method, Json config)
    : method_name_(std::move(method)), method_(&methods().find(method_name_)) {
  config_ = check_fields(method_->fields(), config, "method");
}

void Adapter::make_plan(const Model& model, bool loading) {
  const bool modules = method_->capabilities().modules;
  plan_ = method_->plan(modules ? model.module_sites() : model.sites(), config_, loading);
  for (SitePlan& copy : plan_copies(model.sites(), placement_of(config_), plan_, loading))
    plan_.sites.push_back(std::move(copy));
}

void Adapter::allocate(bool planned) {
  std::vector<ParamSpec> specs;
  std::set<std::string> seen;
  for (const SitePlan& site : plan_.sites) {
    for (const ParamSpec& spec : site.parameters) {
      if (seen.insert(spec.path()).second) specs.push_back(spec);
    }
  }
  store_.add(specs, planned);
}

std::unique_ptr<Adapter> Adapter::planned(const Model& model, const std::string& method,
                                          const Json& config) {
  std::unique_ptr<Adapter> a(new Adapter(method, config));
  a->make_plan(model, /*loading=*/false);
  a->allocate(/*planned=*/true);
  return a;
}

std::unique_ptr<Adapter> Adapter::create(const Model& model, const std::string& method,
                                         const Json& config, uint64_t seed) {
  std::unique_ptr<Adapter> a(new Adapter(method, config));
  a->make_plan(model, /*loading=*/false);
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
    a->part(site).init(site, parameters, {at.host, at.index}, a->config_, seed);
  }
  return a;
}

Json Adapter::peft_config(const std::string& base) const {
  // What other layouts are read as says less than PEFT's own files do.
  if (read_config_.contains("base_model_name_or_path")) {
    Json config = read_config_;
    if (!base.empty()) config["base_model_name_or_path"] = base;
    return config;
  }
  Json config = method_->to_peft(config_, plan_);
  config["auto_mapping"] = nullptr;
  config["base_model_name_or_path"] = base;
  config["inference_mode"] = true;
  config["peft_type"] = method_->peft_type();
  config["peft_version"] = kPeftVersion;
  config["revision"] = nullptr;
  config["task_type"] = "CAUSAL_LM";
  return config;
}

void Adapter::save(const fs::path& folder, const std::string& base, const Json& sidecar,
                   bool replace) const {
  std::vector<NamedTensor> tensors = carried_;
  Tensors alive;
  std::set<std::string> written;
  const auto add = [&](const std::string& name, const at::Tensor& values) {
    if (!written.insert(name).second) return;
    const auto known = formats_.find(name);
    const Format format = known == formats_.end() ? Format::f32 : known->second;
    alive.push_back(values.to(scalar_of(format)).contiguous());
    const at::Tensor& t = alive.back();
    const auto* bytes = static_cast<const std::byte*>(t.const_data_ptr());
    tensors.push_back({name,
                       {.format = format,
                        .shape = t.sizes().vec(),
                        .bytes = {bytes, static_cast<size_t>(t.nbytes())}}});
  };
  for (const auto& p : store_.parameters())
    add(adapter_tensor_name(p->spec()), p->value().detach());
  for (const SitePlan& site : plan_.sites) {
    for (const Alias& alias : site.aliases) {
      const at::Tensor value =
          store_.find(site.parameters[alias.parameter].path()).value().detach();
      add(adapter_tensor_name(alias.path), alias.transposed ? value.t() : value);
    }
  }
  write_adapter(folder, peft_config(base), tensors, sidecar, {.replace = replace});
}

Tensors Adapter::values(const SitePlan& site) const {
  Tensors tensors;
  for (const ParamSpec& spec : site.parameters) tensors.push_back(store_.find(spec.path()).value());
  return tensors;
}

void Adapter::check_scalable(double scale) const {
  if (scale == 1) return;
  for (const SitePlan& site : plan_.sites) {
    if (part(site).scalable()) continue;
    throw Error(ErrorKind::unsupported,
                site.part ? str("the adapter brings its own values of ", site.site.name,
                                ", which cannot be scaled by ", scale)
                          : str("a ", method_name_, " adapter cannot be scaled by ", scale),
                site.site.name, "use it at scale 1");
  }
}

void Adapter::attach(Model& model, int slot, double scale) const {
  check_scalable(scale);
  for (const SitePlan& site : plan_.sites) {
    const HostSite at = model.find(site.site.name);
    const AttachmentPtr made = part(site).attach(site, values(site), {at.host, at.index},
                                                 {.scale = scale, .clock = clock_});
    for (const AttachmentPtr& other : at.slots().at(slot)) {
      const Hooks &a = made->hooks(), &b = other->hooks();
      if (a.stack && b.stack) {
        throw Error(ErrorKind::usage,
                    str("two adapters both run the blocks of ", site.site.name,
                        " their own way, and only one of them can"),
                    site.site.name, "use them in different slots");
      }
      if ((a.weight && b.weight) || (a.bias && b.bias)) {
        throw Error(ErrorKind::usage,
                    str("two adapters both bring their own values of ", site.site.name,
                        ", and only one of them can stand there"),
                    site.site.name, "use them in different slots");
      }
    }
    at.slots().attach(slot, made);
  }
}

void Adapter::detach(Model& model, int slot) {
  model.detach(slot);
}

}  // namespace smidgen
