// MEFT3 (arXiv 2306.00477): F is the attention half of a block with an adapter on its output, G its
// MLP half with an adapter beside the MLP, and the streams are not switched.
#include "smidgen/methods/meft.h"

namespace smidgen {

std::unique_ptr<const Method> make_meft3_method() {
  return make_meft(
      {.name = "meft3", .parts = MeftVariant::Parts::halves, .lambda = 0.1, .beta = 0.1});
}

}  // namespace smidgen
