// All methods, by the names in methods.list.
#pragma once

#include "smidgen/base/registry.h"
#include "smidgen/methods/method.h"

namespace smidgen {

void register_all(Registry<Method>& registry);  // written by the build
const Registry<Method>& methods();

// The method whose PEFT name this is; unsupported, naming it and what is known, when there is none.
const std::pair<std::string, std::unique_ptr<const Method>>& method_of_peft_type(
    const std::string& peft_type, const std::string& where);

}  // namespace smidgen
