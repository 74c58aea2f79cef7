// MEFT2 (arXiv 2306.00477): F is an adapter, G a whole block with an adapter beside its MLP, and
// the streams are switched after each layer.
#include "smidgen/methods/meft.h"

namespace smidgen {

std::unique_ptr<const Method> make_meft2_method() {
  return make_meft(
      {.name = "meft2", .parts = MeftVariant::Parts::block_second, .lambda = 1, .beta = 0.1});
}

}  // namespace smidgen
