#include "smidgen/base/threads.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

void run_serially(int64_t count, const std::function<void(int64_t)>& task) {
  for (int64_t i = 0; i < count; ++i) task(i);
}

constexpr ThreadPool kCallingThread{run_serially, [] { return 1; }};

std::atomic<const ThreadPool*> current_pool{&kCallingThread};

}  // namespace

void install_thread_pool(const ThreadPool& pool) {
  SMIDGEN_ASSERT(pool.run && pool.size);
  // Pools live as long as the process, replaced ones too: loops may still run in them, also at
  // exit. The list keeps them reachable, so that leak checkers see no leak.
  static std::mutex mutex;
  static auto& all = *new std::deque<ThreadPool>;
  const std::lock_guard lock(mutex);
  current_pool = &all.emplace_back(pool);
}

int thread_count() {
  return std::max(1, current_pool.load()->size());
}

void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  SMIDGEN_ASSERT(grain > 0);
  if (n <= 0) return;
  const int64_t parts = std::clamp<int64_t>(n / grain, 1, thread_count());
  if (parts == 1) return body(0, n);
  // The first `rest` parts are one longer.
  const int64_t whole = n / parts, rest = n % parts;
  auto begin = [&](int64_t i) { return i * whole + std::min(i, rest); };
  current_pool.load()->run(parts, [&](int64_t i) { body(begin(i), begin(i + 1)); });
}

void parallel_claims(int64_t n, int64_t least, int64_t most,
                     const std::function<void(int64_t, int64_t)>& body) {
  SMIDGEN_ASSERT(least > 0 && most >= least);
  if (n <= 0) return;
  const int64_t workers = std::clamp<int64_t>(n / least, 1, thread_count());
  if (workers == 1) return body(0, n);
  std::atomic<int64_t> taken{0};
  current_pool.load()->run(workers, [&](int64_t) {
    int64_t begin = taken.load(std::memory_order_relaxed);
    for (;;) {
      if (begin >= n) return;
      const int64_t share = std::clamp((n - begin) / (2 * workers), least, most);
      const int64_t end = std::min(n, begin + share);
      if (!taken.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      body(begin, end);
      begin = taken.load(std::memory_order_relaxed);
    }
  });
}

}  // namespace smidgen
