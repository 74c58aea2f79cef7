// Limits that a container sets: cgroup version 1 and 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace smidgen {

// Bytes of memory this process may use, the smallest over its group and the groups above; none when
// unlimited. `root` stands before /proc and /sys, for tests.
std::optional<int64_t> cgroup_memory_limit(const std::string& root = "");

// Processors' worth of time (1.5 is one and a half); none when unlimited.
std::optional<double> cgroup_cpu_quota(const std::string& root = "");

}  // namespace smidgen
