#include "smidgen/nn/families/registry.h"

#include <algorithm>

namespace smidgen {

const Registry<Family>& families() {
  static const Registry<Family> registry = [] {
    Registry<Family> r("model family");
    register_all(r);
    return r;
  }();
  return registry;
}

namespace {

[[noreturn]] void unknown(const std::string& key, const std::string& name,
                          std::vector<std::string> (Family::*names)() const,
                          const std::string& where) {
  std::vector<std::string> known;
  for (const auto& item : families().entries()) {
    for (const std::string& n : (item.second.get()->*names)()) {
      if (std::find(known.begin(), known.end(), n) == known.end()) known.push_back(n);
    }
  }
  throw Error(ErrorKind::unsupported, str(key, " '", name, "' is not a family that can be run yet"),
              where, str("known: ", join(known)));
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool reads(const Family& family, const std::string& gguf_key) {
  return std::any_of(family.keys().begin(), family.keys().end(),
                     [&](const ConfigKey& key) { return key.gguf == gguf_key; });
}

}  // namespace

const Family& family_of(const Json& config, const std::string& where) {
  const auto found = config.find("model_type");
  if (found == config.end() || !found->is_string())
    throw Error(ErrorKind::format, "config.json has no model_type", where);
  const std::string name = found->get<std::string>();
  for (const auto& item : families().entries()) {
    if (contains(item.second->model_types(), name)) return *item.second;
  }
  unknown("model_type", name, &Family::model_types, where);
}

const Family& family_of(const ModelFiles& files) {
  if (files.kind == ModelFiles::Kind::folder) return family_of(files.config, files.path.string());
  const std::string name = files.gguf->get_string("general.architecture");
  const Family* general = nullptr;
  // A file with two marks belongs to the family that reads both: Mixtral with a window.
  const Family* marked = nullptr;
  for (const auto& item : families().entries()) {
    const Family& family = *item.second;
    if (!contains(family.gguf_architectures(), name)) continue;
    if (family.gguf_marker().empty()) {
      if (!general) general = &family;
    } else if (files.gguf->find(str(name, ".", family.gguf_marker())) &&
               (!marked || reads(family, marked->gguf_marker()))) {
      marked = &family;
    }
  }
  if (marked) return *marked;
  if (general) return *general;
  unknown("general.architecture", name, &Family::gguf_architectures, files.path.string());
}

}  // namespace smidgen
