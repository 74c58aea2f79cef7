// JSON that keeps the order of keys, so that a file that is read and written again stays the same
// file.
#pragma once

#include <nlohmann/json.hpp>

namespace smidgen {

using Json = nlohmann::ordered_json;

}  // namespace smidgen
