// libsmidgen_core.so, opened only when a verb computes: linking torch costs 0.3 s and 109 MB before
// main.
#pragma once

#include <filesystem>
#include <string>

#include "smidgen/cli/core_api.h"

namespace smidgen {

// The folder of this executable.
std::filesystem::path program_folder();

// Where the core library lies, or empty: beside the executable, then in ../lib.
std::filesystem::path find_core_library();

// Sets what must be in the environment before torch's libraries initialise, so that neither speed
// nor bits depend on the shell: OMP_NUM_THREADS and MKL_NUM_THREADS = threads, OMP_DYNAMIC and
// MKL_DYNAMIC off, OMP_WAIT_POLICY=PASSIVE unless set (eight times faster on a busy machine), but
// with some ten microseconds' patience, GOMP_SPINCOUNT, between the many short loops of a new token
// (one and a half times faster).
// MKL_CBWR and ATEN_CPU_CAPABILITY change bits: unset is the default, a value that the user gave
// stays and is noted.
void set_core_environment(int threads);

// Opens the core. Missing or not loadable: Error unsupported with the remedy.
const CoreApi& load_core();

}  // namespace smidgen
