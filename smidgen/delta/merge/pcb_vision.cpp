#include "smidgen/delta/merge/pcb_merge.h"

namespace smidgen {

std::unique_ptr<const MergeMethod> make_pcb_vision_merge_method() {
  return make_pcb(PcbVariant::vision);
}

}  // namespace smidgen
