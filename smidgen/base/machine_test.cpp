// Signals, memory, processors and cgroups.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "smidgen/base/cgroup.h"
#include "smidgen/base/cpu.h"
#include "smidgen/base/error.h"
#include "smidgen/base/memory.h"
#include "smidgen/base/signals.h"

namespace smidgen {
namespace {

// Exit code of a child that runs `action`, or -1 when a signal ended it.
template <class Action>
int child(Action action) {
  const pid_t id = ::fork();
  if (id == 0) {
    action();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(id, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Signals, TheFirstAsksTheSecondEnds) {
  EXPECT_EQ(child([] {
              install_signals();
              if (stop_requested() != 0) ::_exit(1);
              ::raise(SIGTERM);
              if (stop_requested() != SIGTERM || interrupted_exit_code() != 143) ::_exit(2);
              try {
                throw_if_stopped();
              } catch (const Error& error) {
                if (error.kind() == ErrorKind::interrupted) ::_exit(42);
              }
            }),
            42);
  EXPECT_EQ(child([] {
              install_signals();
              ::raise(SIGTERM);
              ::raise(SIGINT);
            }),
            130);
  EXPECT_EQ(child([] {
              install_signals();
              ::raise(SIGINT);
              ::raise(SIGTERM);
            }),
            143);
  EXPECT_EQ(child([] {
              install_signals();
              ::raise(SIGPIPE);
            }),
            0);
  EXPECT_EQ(child([] {
              std::signal(SIGINT, SIG_IGN);
              install_signals();
              ::raise(SIGINT);
              if (stop_requested() != 0) ::_exit(1);
            }),
            0);
}

TEST(Memory, GrowsWithWhatIsTouched) {
  const int64_t before = current_rss();
  ASSERT_GT(before, 0);
  {
    std::vector<char> block(64 << 20, 1);
    EXPECT_GT(current_rss(), before + (60 << 20)) << static_cast<int>(block[1]);
  }
  EXPECT_GE(peak_rss(), before + (60 << 20));
  EXPECT_LE(memory_limit(), total_memory());
  EXPECT_GT(available_memory(), 0);
}

TEST(Cpu, Threads) {
  EXPECT_EQ(default_threads(8, 0), 8);
  EXPECT_EQ(default_threads(8, 2.5), 2);
  EXPECT_EQ(default_threads(8, 0.5), 1);
  EXPECT_EQ(default_threads(2, 16), 2);
  const CpuInfo info = cpu_info();
  EXPECT_GE(info.online, info.affinity);
  EXPECT_GE(default_threads(), 1);
  EXPECT_LE(default_threads(), info.affinity);
}

class Cgroup : public testing::Test {
 protected:
  void SetUp() override { root_ = testing::TempDir() + str("/cgroup_", ::getpid()); }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::string root_;
};

TEST_F(Cgroup, Version2TakesTheTightestAncestor) {
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  write("/sys/fs/cgroup/a/memory.max", "1000000\n");
  write("/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n");
  write("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_memory_limit(root_), 1000000);
  EXPECT_EQ(cgroup_cpu_quota(root_), 2.5);
}

TEST_F(Cgroup, Version1) {
  write("/proc/self/cgroup", "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n");
  write("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096000\n");
  write("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cgroup_memory_limit(root_), 4096000);
  EXPECT_FALSE(cgroup_cpu_quota(root_));
}

TEST_F(Cgroup, NothingThere) {
  EXPECT_FALSE(cgroup_memory_limit(root_));
  EXPECT_FALSE(cgroup_cpu_quota(root_));
}

}  // namespace
}  // namespace smidgen
