// What generation must ask of a model whose numbers depend on how long the whole sequence is.
#pragma once

#include <cstdint>

namespace smidgen {

// With some rotary scalings (dynamic, longrope) a longer sequence turns every token by other
// angles, so that all that a cache holds of earlier layers is of another computation.
class ByLength {
 public:
  virtual ~ByLength() = default;
  // True when a cache filled at `have` tokens says nothing of a sequence of `want`: it has to be
  // computed from its start.
  virtual bool starts_anew(int64_t have, int64_t want) const = 0;
};

}  // namespace smidgen
