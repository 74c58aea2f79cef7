#include "smidgen/methods/adapter_set.h"

#include <algorithm>

namespace smidgen {

AdapterSet::~AdapterSet() {
  for (const auto& [slot, mix] : slots_) Adapter::detach(model_, slot);
}

Adapter& AdapterSet::add(const std::string& name, std::unique_ptr<Adapter> adapter) {
  if (adapters_.contains(name)) {
    throw Error(ErrorKind::usage, str("there are two adapters called '", name, "'"), name,
                "name them apart: NAME=PATH");
  }
  names_.push_back(name);
  return *(adapters_[name] = std::move(adapter));
}

void AdapterSet::remove(const std::string& name) {
  find(name);
  std::erase_if(slots_, [&](const auto& item) {
    const Mix& mix = item.second;
    const bool holds =
        std::any_of(mix.begin(), mix.end(), [&](const Share& share) { return share.name == name; });
    if (holds) Adapter::detach(model_, item.first);
    return holds;
  });
  std::erase(names_, name);
  adapters_.erase(name);
}

Adapter& AdapterSet::find(const std::string& name) const {
  const auto found = adapters_.find(name);
  if (found == adapters_.end()) {
    throw Error(ErrorKind::not_found, str("there is no adapter called '", name, "'"), name,
                did_you_mean(name, names_,
                             names_.empty() ? "no adapter was given" : "known: " + join(names_)));
  }
  return *found->second;
}

int AdapterSet::slot(const Mix& mix) {
  if (mix.empty()) return 0;
  int free = 1;
  for (const auto& [slot, known] : slots_) {
    if (known == mix) return slot;
    if (slot == free) ++free;
  }
  try {
    for (const Share& share : mix) find(share.name).attach(model_, free, share.scale);
  } catch (...) {
    Adapter::detach(model_, free);
    throw;
  }
  slots_[free] = mix;
  return free;
}

}  // namespace smidgen
