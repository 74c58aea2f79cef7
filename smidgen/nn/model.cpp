#include "smidgen/nn/model.h"

#include <set>

#include "smidgen/nn/families/registry.h"

namespace smidgen {

size_t Model::weight_bytes() const {
  std::set<const HostedWeight*> seen;
  size_t bytes = 0;
  for (const auto& host : hosts_) {
    const HostedWeight* weight = host->shared_weight().get();
    if (weight && seen.insert(weight).second) bytes += weight->original().bytes();
  }
  return bytes;
}

HostSite Model::find(const std::string& site) const {
  std::vector<std::string> names;
  for (const auto& host : hosts_) {
    for (size_t i = 0; i < host->sites().size(); ++i) {
      if (host->sites()[i].name == site) return {host.get(), i};
      names.push_back(host->sites()[i].name);
    }
  }
  throw Error(ErrorKind::not_found, str("the model has no module '", site, "'"), "",
              did_you_mean(site, names));
}

std::unique_ptr<Model> load_model(const ModelFiles& files, const LoadOptions& options) {
  const Family& family = family_of(files);
  return family.load(files, options);
}

}  // namespace smidgen
