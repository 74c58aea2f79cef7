#include "smidgen/cli/core_library.h"

#include <cstdlib>
#include <dlfcn.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/memory.h"

namespace smidgen {
namespace fs = std::filesystem;

fs::path program_folder() {
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  return code ? fs::path(".") : program.parent_path();
}

fs::path find_core_library() {
  for (const char* place : {"libsmidgen_core.so", "../lib/libsmidgen_core.so"}) {
    const fs::path file = program_folder() / place;
    std::error_code code;
    if (fs::exists(file, code)) return file;
  }
  return {};
}

void set_core_environment(int threads) {
  const std::string count = str(threads);
  for (const char* name : {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}) ::setenv(name, count.c_str(), 1);
  for (const char* name : {"OMP_DYNAMIC", "MKL_DYNAMIC"}) ::setenv(name, "FALSE", 1);
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  ::setenv("GOMP_SPINCOUNT", "10000", 0);
  limit_product_caches();
  for (const char* name : {"MKL_CBWR", "ATEN_CPU_CAPABILITY"}) {
    const char* value = std::getenv(name);
    if (value && *value) log_note(name, "=", value, " of the environment changes bits and speed");
  }
}

const CoreApi& load_core() {
  const fs::path file = find_core_library();
  if (file.empty()) {
    throw Error(
        ErrorKind::unsupported, "this build has no core library, so it cannot compute",
        (program_folder() / "libsmidgen_core.so").string(),
        "build with -DSMIDGEN_CORE=ON, or `make build`; smidgen doctor tells what is missing");
  }
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) {
    const char* reason = ::dlerror();
    throw Error(ErrorKind::unsupported,
                str("the core library does not load: ", reason ? reason : "unknown reason"),
                file.string(),
                "is torch where it was when smidgen was built? smidgen doctor tells more");
  }
  const auto entry = reinterpret_cast<const CoreApi* (*)()>(::dlsym(library, "smidgen_core_api"));
  if (!entry) {
    throw Error(ErrorKind::mismatch, "the core library exports no smidgen_core_api", file.string(),
                "it is not smidgen's, or of another version: build or install both together");
  }
  const CoreApi* api = entry();
  if (!api || api->version != CoreApi::kVersion) {
    throw Error(ErrorKind::mismatch,
                str("the core library speaks version ", api ? api->version : 0,
                    " and the command version ", CoreApi::kVersion),
                file.string(), "build or install both together");
  }
  return *api;
}

}  // namespace smidgen
