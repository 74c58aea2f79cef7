// A whole module as a host: a block's attention, its MLP, or the block. It owns no weight; what
// hangs on it acts on what the module computes.
//
//   y' = post(y + add(x, y))      x [n, width] what the module reads, y [n, width] what it makes:
//                                 attention after its output projection, an MLP after its last
//                                 product, both before a norm and the residual stream; of a block
//                                 the stream before and after it
//
// Rows see what hangs at their own slot, as in LinearGroup. Where nothing hangs nothing is called.
#pragma once

#include "smidgen/nn/host.h"

namespace smidgen {

class ModuleHost : public Host {
 public:
  explicit ModuleHost(Site site) : Host({std::move(site)}) {}
  // x and y in any float type -> fp32. Both are kept where a hook reads them, in `lean` too: a hook
  // may have kinks, and what it reads again from a rounded stream falls on their other side.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& y, const Rows& rows) const;
  // stream + scale add(x), fp32: for a y that is in the stream already, where only_adds().
  at::Tensor add_to(const at::Tensor& stream, const at::Tensor& x, const Rows& rows,
                    double scale) const;
  // True when what `rows` see neither reads nor changes what the module computes.
  bool only_adds(const Rows& rows) const;
};

}  // namespace smidgen
