#include "smidgen/methods/registry.h"

namespace smidgen {

const Registry<Method>& methods() {
  static const Registry<Method> registry = [] {
    Registry<Method> r("method");
    register_all(r);
    return r;
  }();
  return registry;
}

const std::pair<std::string, std::unique_ptr<const Method>>& method_of_peft_type(
    const std::string& peft_type, const std::string& where) {
  std::vector<std::string> known;
  for (const auto& item : methods().entries()) {
    const std::string type = item.second->peft_type();
    if (type == peft_type) return item;
    if (!type.empty()) known.push_back(type);
  }
  throw Error(ErrorKind::unsupported, str("adapters of type ", peft_type, " cannot be read yet"),
              where, str("readable types: ", join(known)));
}

}  // namespace smidgen
