// How much memory the process has and may have.
#pragma once

#include <cstdint>

namespace smidgen {

int64_t current_rss();   // bytes resident now; 0 when the system does not tell
int64_t peak_rss();      // the most it ever was since the program started (VmHWM)
int64_t total_memory();  // of the machine
int64_t
available_memory();  // what the machine can still give (MemAvailable), not above the limit below
int64_t memory_limit();  // the smaller of the machine and the cgroup

// How much more this process can take, and what sets that: the machine, its cgroup, ulimit -v or
// ulimit -d.
struct MemoryRoom {
  int64_t bytes = 0;
  const char* limit = "";
};
MemoryRoom memory_room();

// oneDNN and its caller keep a compiled product per shape, 1024 of them each, and packed batches
// bring new shapes at every step: 3 GB after a hundred steps. This bounds both to the shapes of a
// step with several micro-batches, unless the environment says otherwise. Both libraries look at
// their first product.
void limit_product_caches();

}  // namespace smidgen
