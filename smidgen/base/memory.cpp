#include "smidgen/base/memory.h"

#include <algorithm>
#include <fstream>
#include <stdlib.h>
#include <string>
#include <unistd.h>

#include <sys/resource.h>

#include "smidgen/base/cgroup.h"

namespace smidgen {
namespace {

// A "Name:   123 kB" row of a /proc file in bytes, or 0.
int64_t row(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    int64_t kilobytes = 0;
    if (word == name && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

int64_t current_rss() {
  return row("/proc/self/status", "VmRSS:");
}

// Not getrusage: its ru_maxrss survives exec, so it may tell of the program that started this one.
int64_t peak_rss() {
  return row("/proc/self/status", "VmHWM:");
}

int64_t total_memory() {
  return int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
}

int64_t available_memory() {
  return std::min(row("/proc/meminfo", "MemAvailable:"), memory_limit() - current_rss());
}

int64_t memory_limit() {
  return std::min(total_memory(), cgroup_memory_limit().value_or(INT64_MAX));
}

MemoryRoom memory_room() {
  MemoryRoom room{row("/proc/meminfo", "MemAvailable:"), "what the machine has free"};
  const auto narrow = [&](int64_t bytes, const char* limit) {
    if (bytes < room.bytes) room = {std::max<int64_t>(0, bytes), limit};
  };
  if (const auto group = cgroup_memory_limit())
    narrow(*group - current_rss(), "the cgroup's limit");
  const auto resource = [&](__rlimit_resource kind, const char* used, const char* limit) {
    rlimit value{};
    if (::getrlimit(kind, &value) != 0 || value.rlim_cur == RLIM_INFINITY) return;
    const auto most = static_cast<int64_t>(std::min<rlim_t>(value.rlim_cur, INT64_MAX));
    narrow(most - row("/proc/self/status", used), limit);
  };
  resource(RLIMIT_AS, "VmSize:", "ulimit -v");
  resource(RLIMIT_DATA, "VmData:", "ulimit -d");
  return room;
}

void limit_product_caches() {
  for (const char* name : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"})
    ::setenv(name, "128", 0);
}

}  // namespace smidgen
