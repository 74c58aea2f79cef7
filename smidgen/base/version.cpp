#include "smidgen/base/version.h"

namespace smidgen {

const char* version() {
  return SMIDGEN_VERSION;
}

}  // namespace smidgen
