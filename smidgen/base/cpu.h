// What processor this is and how much of it the process may use.
#pragma once

#include <string>
#include <vector>

namespace smidgen {

struct CpuInfo {
  std::string model;  // "AMD EPYC ...", or empty
  std::vector<std::string>
      isa;         // of the instruction sets the kernels know: avx2, fma, avx512f, avx512_bf16 ...
  int online = 1;  // processors of the machine
  int affinity = 1;  // processors this process may run on
  double quota = 0;  // cgroup quota in processors; 0 when there is none
};

CpuInfo cpu_info();

// min(affinity, quota rounded down), at least 1.
int default_threads();
int default_threads(int affinity, double quota);

}  // namespace smidgen
