// What reading and writing GGUF share: ggml's numbers for storage formats, and its limits.
#pragma once

#include <cstdint>
#include <optional>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

inline constexpr uint32_t kGgufMaxDims = 4;
inline constexpr size_t kGgufMaxName = 63;  // GGML_MAX_NAME counts the final zero

// Nothing for a number that ggml does not know or has withdrawn.
std::optional<Format> ggml_format(uint32_t id);
// Nothing for a format that GGUF has not (the unsigned integers, eight-bit floats ...).
std::optional<uint32_t> ggml_id(Format format);

}  // namespace smidgen
