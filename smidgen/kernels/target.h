// Which instructions the vector code of kernels/ uses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

// The targets in use: what every machine has, AVX2, AVX-512 (and NEON, SVE where those exist). The
// x86 steps between cost compile time and serve machines older than 2013. Read by Highway, so this
// comes before its headers.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)

namespace smidgen {

// "scalar", "avx2", "avx512", "vnni", "bf16" or another architecture's name. vnni is avx512 with
// dot products of 8-bit integers, bf16 is vnni with those of bf16. The best the machine has, unless
// SMIDGEN_TARGET names one; a word that is no target throws usage, a target the machine lacks
// throws unsupported, both at the first kernel call.
std::string kernel_target();

// Those that this build holds and this machine runs, best first.
std::vector<std::string> kernel_targets();

// Throws like SMIDGEN_TARGET; the empty word goes back to the best. Results of kernels differ
// between targets in rounding only.
void force_kernel_target(std::string_view name);

// Reads SMIDGEN_TARGET once. Every kernel calls it before it dispatches.
void choose_kernel_target();

// Whether the target in use has dot products of bf16 (kernels/isa/avx512_bf16.cpp).
bool uses_bf16_products();

// Whether it has those of 8-bit integers (kernels/isa/avx512_vnni.cpp).
bool uses_int8_products();

}  // namespace smidgen
