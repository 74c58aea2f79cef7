// The hot loop of nf4.cpp.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// 64 elements of 16 possible values: codes lie two in a byte, the first in its high half.
void nf4_block(const uint8_t* codes, const Bf16* values, Bf16* out);

}  // namespace smidgen
