#include "smidgen/base/threads.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace smidgen {
namespace {

int pretended = 1;

// Runs the parts backwards, as a pool may.
void run_backwards(int64_t count, const std::function<void(int64_t)>& task) {
  for (int64_t i = count; i-- > 0;) task(i);
}

class Threads : public testing::Test {
 protected:
  void SetUp() override {
    install_thread_pool({run_backwards, [] { return pretended; }});
  }
  void TearDown() override { pretended = 1; }
};

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

Ranges ranges(int64_t n, int64_t grain) {
  Ranges seen;
  parallel_for(n, grain,
               [&](int64_t begin, int64_t end) { seen.insert(seen.begin(), {begin, end}); });
  return seen;
}

TEST_F(Threads, RangesCoverTheLoopOnceInOrder) {
  for (int threads : {1, 2, 3, 7}) {
    pretended = threads;
    for (int64_t n : {1, 2, 5, 6, 7, 100, 101}) {
      for (int64_t grain : {1, 3, 50}) {
        const Ranges seen = ranges(n, grain);
        ASSERT_LE(seen.size(), static_cast<size_t>(threads));
        int64_t at = 0;
        for (auto [begin, end] : seen) {
          EXPECT_EQ(begin, at);
          EXPECT_TRUE(end - begin >= grain || seen.size() == 1) << n << " by " << grain;
          at = end;
        }
        EXPECT_EQ(at, n);
        EXPECT_EQ(seen, ranges(n, grain)) << "the partition is fixed";
      }
    }
  }
}

TEST_F(Threads, UsesAllThreadsWhenThereIsEnoughToDo) {
  pretended = 4;
  EXPECT_EQ(ranges(10, 2), (Ranges{{0, 3}, {3, 6}, {6, 8}, {8, 10}}));
  EXPECT_EQ(ranges(10, 6), (Ranges{{0, 10}}));
}

TEST_F(Threads, ClaimsCoverTheLoopOnce) {
  for (int threads : {1, 2, 3, 7}) {
    pretended = threads;
    for (int64_t n : {1, 2, 5, 36, 101}) {
      Ranges seen;
      parallel_claims(n, 2, 4, [&](int64_t begin, int64_t end) { seen.push_back({begin, end}); });
      int64_t at = 0;
      for (const auto& [begin, end] : seen) {
        EXPECT_EQ(begin, at);
        EXPECT_TRUE(end - begin <= 4 || seen.size() == 1);
        EXPECT_TRUE(end - begin >= 2 || end == n);
        at = end;
      }
      EXPECT_EQ(at, n) << threads << " threads";
    }
  }
}

TEST_F(Threads, ClaimsOfThreadsThatRunAtOnceAreTheirOwn) {
  install_thread_pool({[](int64_t count, const std::function<void(int64_t)>& task) {
                         std::vector<std::thread> all;
                         for (int64_t i = 0; i < count; ++i)
                           all.emplace_back([&task, i] { task(i); });
                         for (std::thread& each : all) each.join();
                       },
                       [] { return 4; }});
  std::vector<std::atomic<int>> met(20'000);
  parallel_claims(20'000, 1, 3, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++met[static_cast<size_t>(i)];
  });
  for (const auto& times : met) ASSERT_EQ(times, 1);
}

TEST_F(Threads, EmptyLoopCallsNothing) {
  parallel_claims(0, 1, 1, [](int64_t, int64_t) { FAIL(); });
  EXPECT_TRUE(ranges(0, 1).empty());
  EXPECT_TRUE(ranges(-3, 1).empty());
}

TEST_F(Threads, AnExceptionReachesTheCaller) {
  EXPECT_THROW(parallel_for(8, 1, [](int64_t, int64_t) { throw 1; }), int);
}

}  // namespace
}  // namespace smidgen
