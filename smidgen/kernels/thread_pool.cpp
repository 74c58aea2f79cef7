// Gives base/threads the pool that libtorch already has.
//
// at::parallel_for cannot be called from here: its body is a template in a header and spawns
// threads only in units compiled with -fopenmp, which would link a second OpenMP runtime. A tensor
// iterator runs its loop through the same at::parallel_for inside libtorch, so one is made over
// `count` elements and each element is a task. It is kept: a new token runs some two hundred loops.
#include <map>
#include <memory>

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include "smidgen/base/threads.h"

namespace smidgen {
namespace {

void run_on_torch(int64_t count, const std::function<void(int64_t)>& task) {
  if (at::in_parallel_region()) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  struct Elements {
    at::Tensor tensor;
    at::TensorIterator iterator;
    const char* first;
    explicit Elements(int64_t n)
        : tensor(at::empty({n}, at::kByte)),
          iterator(at::TensorIterator::nullary_op(tensor)),
          first(static_cast<const char*>(tensor.data_ptr())) {}
  };
  thread_local std::map<int64_t, std::unique_ptr<Elements>> kept;  // as many as there are threads
  std::unique_ptr<Elements>& elements = kept[count];
  if (!elements) elements = std::make_unique<Elements>(count);
  const char* const first = elements->first;
  elements->iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t n) {
        for (int64_t i = 0; i < n; ++i) task(data[0] + i * strides[0] - first);
      },
      /*grain_size=*/1);
}

[[maybe_unused]] const bool installed = [] {
  install_thread_pool({run_on_torch, [] { return at::get_num_threads(); }});
  return true;
}();

}  // namespace
}  // namespace smidgen
