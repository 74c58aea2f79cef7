#include "smidgen/base/signals.h"

#include <atomic>
#include <csignal>
#include <unistd.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

std::atomic<int> pending{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not take a lock");

void on_signal(int number) {
  int none = 0;
  if (!pending.compare_exchange_strong(none, number)) ::_exit(128 + number);
}

}  // namespace

void install_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction before{};
    ::sigaction(number, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;
    struct sigaction action{};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    ::sigaction(number, &action, nullptr);
  }
}

int stop_requested() {
  return pending.load(std::memory_order_relaxed);
}

void clear_stop_request() {
  pending.store(0);
}

void throw_if_stopped() {
  const int number = stop_requested();
  if (number == 0) return;
  throw Error(ErrorKind::interrupted, number == SIGTERM ? "stopped by SIGTERM" : "interrupted");
}

int interrupted_exit_code() {
  return 128 + (stop_requested() == 0 ? SIGINT : stop_requested());
}

}  // namespace smidgen
