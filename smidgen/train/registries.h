// What the registries of this build hold: the part of the schema document that the oneof and choice
// fields of a recipe refer to.
#pragma once

#include "smidgen/base/json.h"

namespace smidgen {

// {"method": {"lora": {"summary", "fields", ...}, ...}, "family": ..., "format": ..., "policy":
// ..., "loss": ...}
Json registries();

}  // namespace smidgen
