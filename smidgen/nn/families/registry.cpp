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

const Family& family_of(const ModelFiles& files) {
  const bool gguf = files.kind == ModelFiles::Kind::gguf;
  const std::string key = gguf ? "general.architecture" : "model_type";
  std::string name;
  if (gguf) {
    name = files.gguf->get_string(key);
  } else {
    const auto found = files.config.find(key);
    if (found == files.config.end() || !found->is_string()) {
      throw Error(ErrorKind::format, "config.json has no model_type", files.path.string());
    }
    name = found->get<std::string>();
  }
  std::vector<std::string> known;
  for (const auto& [label, family] : families().entries()) {
    const auto names = gguf ? family->gguf_architectures() : family->model_types();
    if (std::find(names.begin(), names.end(), name) != names.end()) return *family;
    known.insert(known.end(), names.begin(), names.end());
  }
  throw Error(ErrorKind::unsupported, str(key, " '", name, "' is not a family that can be run yet"),
              files.path.string(), str("known: ", join(known)));
}

}  // namespace smidgen
