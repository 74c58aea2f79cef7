#include "smidgen/train/budgets/registry.h"

namespace smidgen {

const Registry<Budget>& budgets() {
  static const Registry<Budget> registry = [] {
    Registry<Budget> r("budget policy");
    register_all(r);
    return r;
  }();
  return registry;
}

}  // namespace smidgen
