#include "smidgen/nn/tensor_memory.h"

#include <algorithm>
#include <atomic>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace smidgen {
namespace {

// torch's allocator tells whoever calls itself its profiler.
struct Count : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    const int64_t now = live += size;
    int64_t before = peak;
    while (before < now && !peak.compare_exchange_weak(before, now)) {
    }
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::atomic<int64_t> live = 0, peak = 0;
};

}  // namespace

struct TensorMemory::Scope {
  std::shared_ptr<Count> count = std::make_shared<Count>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, count};
};

TensorMemory::TensorMemory() : scope_(std::make_unique<Scope>()) {}
TensorMemory::~TensorMemory() = default;

int64_t TensorMemory::live() const {
  return scope_->count->live;
}

int64_t TensorMemory::peak() const {
  return scope_->count->peak;
}

}  // namespace smidgen
