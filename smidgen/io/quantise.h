// fp32 to stored elements, in the formats that smidgen writes: f32 f16 bf16 q8_0 q4_0 q4_1.
// Finite values give the bytes of PyPI gguf 0.19.0 (quants.py), ties, zeros and subnormals
// included; formulas in io/quants/. Differs from the reference, which writes a block of nonsense in
// these cases: a finite value that overflows f16, and, in a block format, NaN, an infinity, or a
// scale above 65504 (the largest half) are Errors.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

bool writable(Format format);

// `in` is whole blocks, out.size() their bytes. `name` is the tensor, for messages. Format that is
// not written: Error unsupported. Value that does not fit: Error data with the tensor and the
// value. NaN in f16 and bf16 becomes the quiet NaN, infinities stay.
void from_f32(Format format, std::span<const float> in, std::span<std::byte> out,
              const std::string& name);

}  // namespace smidgen
