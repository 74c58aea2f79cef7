#include "smidgen/kernels/arithmetic.h"

namespace smidgen {

bool native_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");  // every processor with AMX has it too
#else
  return false;
#endif
}

}  // namespace smidgen
