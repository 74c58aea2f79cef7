// How much memory tensors take, counted as it is asked for and given back. The memory of a process
// says less: it holds libraries and what the allocator has not returned.
#pragma once

#include <cstdint>
#include <memory>

namespace smidgen {

// Counts while it lives, on the thread that made it and in backward passes started there. What was
// there before is not counted, and must not be let go meanwhile.
class TensorMemory {
 public:
  TensorMemory();
  ~TensorMemory();
  TensorMemory(const TensorMemory&) = delete;
  TensorMemory& operator=(const TensorMemory&) = delete;

  int64_t live() const;  // bytes made and not yet let go
  int64_t peak() const;  // the most it ever was

 private:
  struct Scope;
  std::unique_ptr<Scope> scope_;
};

}  // namespace smidgen
