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

}  // namespace smidgen
