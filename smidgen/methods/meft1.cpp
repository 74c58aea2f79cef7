// MEFT1 (arXiv 2306.00477): F is a whole block with an adapter beside its MLP, G an adapter, and
// the streams are switched after each layer.
#include "smidgen/methods/meft.h"

namespace smidgen {

std::unique_ptr<const Method> make_meft1_method() {
  return make_meft(
      {.name = "meft1", .parts = MeftVariant::Parts::block_first, .lambda = 0.1, .beta = 1});
}

}  // namespace smidgen
