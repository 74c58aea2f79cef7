// The one way to run a loop on several threads. The torch-free library runs it on the calling
// thread; the core library installs torch's own pool when it is loaded, so there is never a second
// pool beside it.
#pragma once

#include <cstdint>
#include <functional>

namespace smidgen {

// Calls body(begin, end) for consecutive ranges that cover [0, n). The ranges depend on (n, grain,
// thread_count()) only, never on timing: at most thread_count() of them, none shorter than `grain`
// unless n is. A range runs whole on one thread. Nested calls run on the calling thread. An
// exception from a body reaches the caller.
void parallel_for(int64_t n, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end)>& body);

// The same for ranges whose results do not depend on who computes them, nor on where they are cut:
// whoever is free takes the next, of at most `most` and towards the end fewer, down to `least`. A
// thread that starts late, or that the machine takes away, holds up none of the others' share.
void parallel_claims(int64_t n, int64_t least, int64_t most,
                     const std::function<void(int64_t begin, int64_t end)>& body);

// How many threads parallel_for divides a loop by.
int thread_count();

// What a pool must offer: run task(0) .. task(count - 1), each once, and return when all are done.
struct ThreadPool {
  void (*run)(int64_t count, const std::function<void(int64_t)>& task);
  int (*size)();
};

// Called once by the core library at load, before any loop runs.
void install_thread_pool(const ThreadPool& pool);

}  // namespace smidgen
