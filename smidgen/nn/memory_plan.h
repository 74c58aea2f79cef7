// What a training step keeps of its forward pass for the backward pass. No choice changes what is
// computed beyond rounding; each trades time for memory.
#pragma once

#include <cstdint>

#include "smidgen/base/field.h"

namespace smidgen {

enum class MemoryMode {
  fast,        // whatever the backward pass reads
  lean,        // what is cheap is computed again: norms, activations; the stream is kept in bf16
               // where products are bf16 (it is never computed in it)
  checkpoint,  // only the input of a block; the block runs again. Same bits as fast
};

struct MemoryPlan {
  MemoryMode mode = MemoryMode::fast;
  int64_t checkpoint_every = 1;
};

template <class V>
void fields(V& v, MemoryPlan& c) {
  v.choice("memory", c.mode,
           {{"fast", MemoryMode::fast},
            {"lean", MemoryMode::lean},
            {"checkpoint", MemoryMode::checkpoint}},
           {.help = "What a step keeps for its backward pass: all of it, less, or the inputs of "
                    "blocks"});
  v("checkpoint_every", c.checkpoint_every,
    {.help = "checkpoint: run every so many-th block again and keep the others",
     .min = 1,
     .unit = "blocks"});
}

}  // namespace smidgen
