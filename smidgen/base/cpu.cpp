#include "smidgen/base/cpu.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <string_view>
#include <unistd.h>

#include "smidgen/base/cgroup.h"

namespace smidgen {
namespace {

// Linux's names. The kernel leaves out what it does not save on a context switch, which CPUID alone
// does not tell.
constexpr std::array<std::string_view, 14> kKnown = {
    "avx",        "avx2",        "fma",         "f16c",     "avx_vnni", "avx512f",  "avx512bw",
    "avx512vnni", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "asimd"};

int affinity_count() {
  for (int size = 1024; size <= 1 << 20; size *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(size));
    if (!set) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return std::max(count, 1);
  }
  return std::max(static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)), 1);
}

}  // namespace

CpuInfo cpu_info() {
  CpuInfo info;
  info.online = std::max(static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)), 1);
  info.affinity = affinity_count();
  info.quota = cgroup_cpu_quota().value_or(0);
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && !line.empty()) {  // the first processor speaks for all
    const size_t colon = line.find(':');
    if (colon == line.npos || colon + 2 > line.size()) continue;
    const std::string value = line.substr(std::min(colon + 2, line.size()));
    if (line.starts_with("model name")) info.model = value;
    if (!line.starts_with("flags") && !line.starts_with("Features")) continue;
    std::istringstream words(value);
    std::string word;
    while (words >> word) {
      if (std::find(kKnown.begin(), kKnown.end(), word) != kKnown.end()) info.isa.push_back(word);
    }
  }
  return info;
}

int default_threads(int affinity, double quota) {
  if (quota > 0) affinity = std::min(affinity, static_cast<int>(std::floor(std::min(quota, 1e6))));
  return std::max(affinity, 1);
}

int default_threads() {
  return default_threads(affinity_count(), cgroup_cpu_quota().value_or(0));
}

}  // namespace smidgen
