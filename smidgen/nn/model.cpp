#include "smidgen/nn/model.h"

#include <set>

#include "smidgen/nn/families/registry.h"

namespace smidgen {

void Model::set_memory(const MemoryPlan& plan) {
  if (plan.checkpoint_every != 1 && plan.mode != MemoryMode::checkpoint) {
    throw Error(ErrorKind::usage,
                str("checkpoint_every is ", plan.checkpoint_every, ", and nothing is checkpointed"),
                "checkpoint_every", "it belongs to memory: checkpoint");
  }
  memory_ = plan;
}

size_t Model::weight_bytes() const {
  std::set<const BaseWeight*> seen;
  size_t bytes = 0;
  for (const auto& host : hosts_) {
    const BaseWeight& weight = host->weight().original();
    if (seen.insert(&weight).second) bytes += weight.bytes();
  }
  return bytes;
}

bool Model::tied(const Site& site) const {
  if (site.tied_to.empty()) return false;
  return &find(site.name).host->weight().current() == &find(site.tied_to).host->weight().current();
}

HostSite Model::find(const std::string& site) const {
  std::vector<std::string> names;
  for (const auto& host : hosts_) {
    for (size_t i = 0; i < host->sites().size(); ++i) {
      if (host->sites()[i].name == site) return {host.get(), host.get(), i};
      names.push_back(host->sites()[i].name);
    }
  }
  for (const auto& module : modules_) {
    if (module->sites().front().name == site) return {module.get(), nullptr, 0};
    names.push_back(module->sites().front().name);
  }
  throw Error(ErrorKind::not_found, str("the model has no module '", site, "'"), "",
              did_you_mean(site, names));
}

void Model::detach(int slot) {
  for (const auto& host : hosts_) {
    for (size_t i = 0; i < host->sites().size(); ++i) host->slots(i).detach(slot);
  }
  for (const auto& module : modules_) module->slots(0).detach(slot);
}

std::unique_ptr<Model> load_model(const ModelFiles& files, const LoadOptions& options) {
  const Family& family = family_of(files);
  return family.load(files, options);
}

}  // namespace smidgen
