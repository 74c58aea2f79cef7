#include "smidgen/delta/merge/pcb_merge.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_pcb_es_merge_method() {
  return make_pcb(PcbVariant::es);
}

}  // namespace smidgen
