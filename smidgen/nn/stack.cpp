#include "smidgen/nn/stack.h"

#include "smidgen/base/error.h"

namespace smidgen {

const StackAttachment* StackHost::way(const Rows& rows) const {
  const StackAttachment* found = nullptr;
  for (const Segment& segment : rows.segments) {
    for (const AttachmentPtr& a : tables_[0].at(segment.slot)) {
      SMIDGEN_ASSERT(a->hooks().stack && !found);
      found = static_cast<const StackAttachment*>(a.get());
    }
  }
  if (found && rows.segments.size() > 1) {
    throw Error(ErrorKind::unsupported,
                str("rows of one batch use different adapters, and one of them runs the blocks of ",
                    sites_.front().name, " its own way, which all rows of a batch must share"),
                sites_.front().name, "run the rows of each adapter in a batch of their own");
  }
  return found;
}

}  // namespace smidgen
